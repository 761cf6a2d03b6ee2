"""A ledger at a glance."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from service.domain.transfers import Transfer

COUNTED_MAX = 10_000
"""How far an overview counts transfers, and the accounts of one status."""


class CurrencyTotals(Struct, frozen=True, kw_only=True):
    """The sums of all accounts in one currency, in minor units. Debits and credits are equal in a sound ledger.

    The sums are arbitrarily large, so they travel as decimal strings.
    """

    currency: str
    account_count: int
    debits_posted: str
    credits_posted: str


class BusyAccount(Struct, frozen=True, kw_only=True):
    """An account by how many of the ledger's latest 1,000 transfers move it."""

    id: UUID
    reference: str | None
    name: str | None
    version: int
    recent_transfer_count: int


class Overview(Struct, frozen=True, kw_only=True):
    """What one snapshot of a ledger says. Each count is exact below COUNTED_MAX, and stays there above; ``totals`` is
    None when the accounts are more than were counted.
    """

    account_counts: dict[str, int]
    transfer_count: int
    totals: Sequence[CurrencyTotals] | None
    latest_transfers: Sequence[Transfer]
    busiest_accounts: Sequence[BusyAccount]

    @property
    def account_counts_complete(self) -> bool:
        """Whether every account was counted."""
        return max(self.account_counts.values(), default=0) < COUNTED_MAX

    @property
    def transfer_count_complete(self) -> bool:
        """Whether every transfer was counted."""
        return self.transfer_count < COUNTED_MAX
