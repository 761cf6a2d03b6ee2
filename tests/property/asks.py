"""What can be asked of a ledger, in words: accounts by name, holds and transfers by their number in order of origin.

Times are words too: the model knows no clock.
"""

from dataclasses import dataclass

UNKNOWN = -1
"""The number of a hold or transfer that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Everything is asked by a client, under a key."""

    client: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Post(Ask):
    debit: str
    credit: str
    amount: int
    currency: str
    at_most: bool = False
    effective: str | None = None


@dataclass(frozen=True, kw_only=True)
class Open(Ask):
    debit: str
    credit: str
    amount: int
    currency: str
    expires: str = "usual"


@dataclass(frozen=True, kw_only=True)
class Capture(Ask):
    hold: int
    amount: int | None = None
    final: bool = True
    effective: str | None = None


@dataclass(frozen=True, kw_only=True)
class Void(Ask):
    hold: int


@dataclass(frozen=True, kw_only=True)
class Reverse(Ask):
    transfer: int
    amount: int | None = None
    effective: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fence(Ask):
    """Make the key unusable."""


Unit = list[Ask]
"""What applies together or not at all."""
