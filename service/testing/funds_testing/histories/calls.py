"""What a history consists of: one call for each request that was sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

WRITES = frozenset({"post_transfer", "open_hold", "capture_hold", "void_hold", "reverse_transfer"})
"""The operations that move money or reserve it, each under a key."""
READS = frozenset({"read_account", "read_transfer", "read_key"})
FENCE = "fence_key"


class Ending(StrEnum):
    """What a caller may conclude from what came back."""

    APPLIED = "applied"
    REJECTED = "rejected"
    """By the rules: remembered under the key."""
    FENCED = "fenced"
    """Nothing stands under the key, and nothing ever will."""
    NOT_APPLIED = "not_applied"
    """Refused: this request changed nothing, and nothing of it is still on its way."""
    UNKNOWN = "unknown"
    """Said to be so, or nothing was said at all."""
    SEEN = "seen"
    """A read that was answered."""
    MISSING = "missing"
    """A read of what was not there."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request and what became of it.

    ``terms`` has what was asked, by the names of the API; what the path names is among them as ``account_id``,
    ``transfer_id`` or ``hold_id``. ``told`` has the members of the answer. A key belongs to one client of the service:
    callers in one history share one, or have keys that differ. ``as_of``: the answer says that a replica gave it.
    """

    number: int
    caller: str
    operation: str
    ledger: str
    invoked: float
    completed: float | None
    ending: Ending
    key: str | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    replayed: bool = False
    as_of: bool = False

    @property
    def decided(self) -> bool:
        """Whether it was told what stands under its key."""
        return self.operation in WRITES and self.ending in {Ending.APPLIED, Ending.REJECTED}

    def __str__(self) -> str:
        asked = " ".join(f"{name}={value}" for name, value in self.terms.items() if value is not None)
        until = "…" if self.completed is None else f"{self.completed:.6f}"
        told = self.told.get("code") or self.told.get("id") or self.told.get("outcome") or ""
        under = f" under {self.key}" if self.key else ""
        return (
            f"#{self.number} {self.caller} {self.invoked:.6f}–{until} {self.operation}{under} ({asked}):"
            f" {self.ending} {told}{' (replay)' if self.replayed else ''}".rstrip()
        )


def ending_of(operation: str, status: int, content: Any) -> Ending:
    """Return what an answer of HTTP ``status`` with the members ``content`` says.

    Raises ValueError for an answer that has no place in a history: a malformed request, one without a right to it, one
    that does not say what is certain.
    """
    said = content if isinstance(content, Mapping) else {}
    if status in {200, 201}:
        return _ending_of_success(operation, said)
    if said.get("outcome") == "unknown":
        return Ending.UNKNOWN
    if said.get("outcome") != "not_applied" or status in {400, 401, 413, 415}:
        raise ValueError(f"an answer that says nothing of the kind: {status} {content}")
    if operation in READS:
        return Ending.MISSING if status == 404 else Ending.UNKNOWN  # noqa: PLR2004
    return _ending_of_problem(said)


def _ending_of_success(operation: str, said: Mapping[str, Any]) -> Ending:
    if operation == FENCE and said.get("outcome") == "fenced":
        return Ending.FENCED
    return Ending.SEEN if operation in READS or operation == FENCE else Ending.APPLIED


def _ending_of_problem(said: Mapping[str, Any]) -> Ending:
    if said.get("code") == "key_fenced":
        return Ending.FENCED
    if said.get("retryable") or said.get("code") in _OF_THIS_REQUEST_ALONE:
        return Ending.NOT_APPLIED
    return Ending.REJECTED


_OF_THIS_REQUEST_ALONE = frozenset({"idempotency_key_reused", "debit_not_allowed", "version_mismatch"})
"""Codes that leave nothing behind under the key."""
