"""The order of facts, and how it differs from the clock.

The clock is the database's, read after the locks: it decides on expiry and windows. The order is where a fact stands
(``created_at``, its identifier with it, and its value date where none was asked for): it rises along the whole ledger,
also when the clock was set back, or when another server's clock was behind. Normally a place is the clock's time.
"""

from datetime import datetime, timedelta
from typing import Self

from msgspec import Struct

from service.domain.policy import Policy

STEP = timedelta(microseconds=1)
"""How far the next place is from the one before it, at least."""


class ClosedPeriod(Struct, frozen=True):
    """Value dates before ``until`` are closed; ``late_entries`` says what becomes of a transfer that has one
    (``periods``).
    """

    until: datetime
    late_entries: str

    def takes(self, effective_at: datetime) -> bool:
        """Whether a transfer that asks for this value date is late."""
        return effective_at < self.until


class Moment(Struct, frozen=True):
    """When something is decided, and by which ``policy``: the ``clock``, and the ``place`` in the ledger's order; and
    which ``period`` of the ledger is closed.
    """

    clock: datetime
    place: datetime
    policy: Policy
    period: ClosedPeriod | None = None

    @classmethod
    def after(cls, last_at: datetime, clock: datetime, policy: Policy, period: ClosedPeriod | None = None) -> Self:
        """Return the moment of what is to follow ``last_at``, the ledger's last place, at the time ``clock``."""
        return cls(clock, max(clock, last_at + STEP), policy, period)

    @property
    def last_at(self) -> datetime:
        """The ledger's last place, where that is not behind the clock."""
        return self.place - STEP
