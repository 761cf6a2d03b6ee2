"""The verification of a ledger: where it is, what it found, and what is known of the ledger by it."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

_UUID_MIN, _UUID_MAX = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"

FINDINGS_KEPT_MAX = 100
"""How many findings of one pass are kept; all are counted."""


class Scope(StrEnum):
    """What a rule is asked of: a slice of the rows of a table, in the order of their keys, the log against its entries,
    some tiles at a time, or a ledger as a whole. A pass takes them in this order.
    """

    ACCOUNTS = "accounts"
    TRANSFERS = "transfers"
    HOLDS = "holds"
    HISTORY = "history"
    DECISIONS = "decisions"
    LOG = "log"
    LEDGER = "ledger"

    @property
    def first(self) -> tuple[str, ...]:
        """Where its first slice begins: a key below all keys of the table."""
        return {Scope.DECISIONS: ("", ""), Scope.LOG: ("0", _UUID_MIN, ""), Scope.LEDGER: ()}.get(self, (_UUID_MIN,))

    @property
    def last(self) -> tuple[str, ...] | None:
        """A key at or above all keys of the table; None where the order of texts has none."""
        return None if self in {Scope.DECISIONS, Scope.LOG, Scope.LEDGER} else (_UUID_MAX,)


class Place(Struct, frozen=True):
    """Where a verification goes on: after the key ``after`` of a table; with rule ``rule`` where they are asked one a
    step.
    """

    scope: Scope = Scope.ACCOUNTS
    after: tuple[str, ...] = Scope.ACCOUNTS.first
    rule: int = 0


class Finding(Struct, frozen=True, order=True):
    """One thing that breaks a rule: ``table`` and ``id`` say which row, ``wrong`` says in a sentence what is wrong."""

    rule: str
    table: str
    id: str
    wrong: str


class Pass(Struct):
    """All rules, asked of a ledger from its first row to its last: what it found so far, or in all once it ended.

    Only the first findings are kept. ``unasked`` are rules that took too long somewhere: of those the pass proves less.
    ``entry_count`` entries were compared with the log, up to the checkpoint of that size. What ``unknown_witnesses``
    cosigned could not be verified.
    """

    started_at: datetime
    ended_at: datetime | None = None
    row_count: int = 0
    entry_count: int = 0
    finding_count: int = 0
    findings: list[Finding] = []
    unasked: list[str] = []
    unknown_witnesses: list[str] = []
    place: Place = Place()

    def add(
        self,
        row_count: int,
        entry_count: int,
        findings: list[Finding],
        unasked: list[str],
        unknown_witnesses: Collection[str] = (),
    ) -> None:
        """Count what a slice gave, and keep its findings while there is room."""
        self.row_count += row_count
        self.entry_count += entry_count
        self.finding_count += len(findings)
        self.findings += findings[: FINDINGS_KEPT_MAX - len(self.findings)]
        self.unasked = sorted({*self.unasked, *unasked})
        self.unknown_witnesses = sorted({*self.unknown_witnesses, *unknown_witnesses})


class Verification(Struct):
    """What is known of a ledger: by the last pass that ended, and by the one that is under way."""

    complete: Pass | None = None
    running: Pass | None = None

    @property
    def findings(self) -> list[Finding]:
        """Everything that was found and kept, each once."""
        found = [one for made in (self.complete, self.running) if made is not None for one in made.findings]
        return list(dict.fromkeys(found))


class Freshness(Struct, frozen=True):
    """What is known of all ledgers at ``as_of``: which have findings, when the one that was verified longest ago was
    (``oldest_at``; None: none was), and how many never were.
    """

    as_of: datetime
    damaged: frozenset[int]
    oldest_at: datetime | None
    unverified: int
