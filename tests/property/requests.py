"""Requests to a ledger in the model's terms: accounts by name, holds and transfers by number, in order of creation.

Times are words too, because the model has no clock.
"""

from dataclasses import dataclass

UNKNOWN = -1
"""The number of a hold or transfer that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request of a client, under a key."""

    client: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Post(Request):
    debit: str
    credit: str
    amount: int
    currency: str
    at_most: bool = False
    effective: str | None = None


@dataclass(frozen=True, kw_only=True)
class Open(Request):
    debit: str
    credit: str
    amount: int
    currency: str
    expires: str = "usual"


@dataclass(frozen=True, kw_only=True)
class Capture(Request):
    hold: int
    amount: int | None = None
    final: bool = True
    effective: str | None = None


@dataclass(frozen=True, kw_only=True)
class Void(Request):
    hold: int


@dataclass(frozen=True, kw_only=True)
class Reverse(Request):
    transfer: int
    amount: int | None = None
    effective: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fence(Request):
    """Make the key unusable."""


Group = list[Request]
"""What applies together or not at all."""
