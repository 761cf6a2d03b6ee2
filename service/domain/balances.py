"""Balances at a time, on two axes: by value date up to one time, of what was recorded up to another."""

from datetime import UTC, datetime
from uuid import UUID

from msgspec import Struct

from service.domain.accounts import NormalSide
from service.domain.identifiers import first_identifier, time_of
from service.domain.order import STEP

EVER = datetime.max.replace(tzinfo=UTC)
"""As of then, every value date counts."""
_LAST = UUID(int=(1 << 128) - 1)


class Viewpoint(Struct, frozen=True):
    """From where balances are seen: transfers dated before ``as_of``, and of those dated then, the ones whose
    identifiers are not above ``through``; of them, those whose identifiers lie before ``end``.
    """

    as_of: datetime
    end: UUID
    through: UUID = _LAST

    @classmethod
    def at(cls, as_of: datetime, known_at: datetime) -> "Viewpoint":
        """Return the viewpoint of all that is dated ``as_of`` or before, and was recorded ``known_at`` or before."""
        return cls(as_of, first_identifier(known_at + STEP))

    @property
    def known_at(self) -> datetime:
        """The last time at which everything that is counted was recorded."""
        return time_of(self.end) - STEP

    @property
    def base(self) -> UUID:
        """The end of what counts by its place alone: up to here the order of value dates and that of places agree on
        all that was not dated apart.
        """
        if self.as_of > self.known_at:
            return self.end
        first, last = first_identifier(self.as_of), first_identifier(self.as_of + STEP)
        within = last if self.through == _LAST else UUID(int=self.through.int + 1)
        return min(self.end, max(first, min(within, last)))

    @property
    def base_at(self) -> datetime:
        """The last time of which nothing lies behind the base."""
        return time_of(self.base) - STEP


class Posted(Struct, frozen=True, kw_only=True):
    """An account's balance from a viewpoint, in minor units on its normal side."""

    account_id: UUID
    currency: str
    normal_side: str
    balance: int


class Held(Struct, frozen=True, kw_only=True):
    """What the holds that were open at a time reserved on either side of an account, in minor units, and the account's
    version then.
    """

    account_id: UUID
    debits_held: int
    credits_held: int
    version: int


class BalanceAt(Struct, frozen=True):
    """An account's balances at a time."""

    posted: Posted
    held: Held

    @property
    def available_balance(self) -> int:
        """The balance less what the holds reserve."""
        reserves = self.held.debits_held if self.posted.normal_side == NormalSide.CREDIT else self.held.credits_held
        return self.posted.balance - reserves
