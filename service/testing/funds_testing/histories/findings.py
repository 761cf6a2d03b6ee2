"""What the checker finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from funds_testing.histories.calls import Call


class Kind(StrEnum):
    """What is wrong, and each a promise that was broken."""

    LOST = "lost"
    """Acknowledged, and not there, or not as it was told."""
    DOUBLED = "doubled"
    """More than once under one key."""
    UNASKED = "unasked"
    """There, and nobody asked for it, or for another one."""
    BELOW_FLOOR = "below floor"
    """Outside the bounds of an account; more captured than held, more reversed than moved."""
    SUM = "sum"
    """Debits are not credits, counters or balances not the sums of what was moved and held."""
    VERSION_GAP = "version gap"
    """The versions of an account are not 1, 2, 3, …, each of one change."""
    DIFFERING_REPLAY = "differing replay"
    """Two answers under one key."""
    STALE_READ = "stale read"
    """A read lacks what was acknowledged before it was asked."""
    UNTRUE_READ = "untrue read"
    """A read shows what never was, or was not yet asked for."""
    NOT_APPLIED = "not applied, and applied"
    REJECTED = "rejected, and moved"
    """Also what is fenced."""
    ORDER = "order"
    """A was acknowledged before B was asked, and stands behind it."""


@dataclass(frozen=True)
class Finding:
    """``what`` is wrong, as a sentence with the identifiers, and the ``calls`` that show it, as far as any do."""

    kind: Kind
    what: str
    calls: tuple[Call, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.kind}: {self.what}", *map(str, self.calls)])


def finding(kind: Kind, what: str, calls: Iterable[Call] = ()) -> Finding:
    """Make a finding, with its calls in the order in which they were asked."""
    return Finding(kind, what, tuple(sorted(calls, key=lambda call: call.number)))
