"""A ledger at a glance."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from .views import TransferView


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


class OverviewView(Struct, kw_only=True, frozen=True):
    """Counts, totals per currency, the latest transfers and the busiest accounts, all of one moment."""

    ledger: str
    account_counts: Annotated[
        dict[str, int],
        Meta(description="The accounts of each status, 10,000 of one at most. What has none is left out."),
    ]
    account_counts_complete: Annotated[bool, Meta(description="False when there are more accounts than were counted.")]
    transfer_count: Annotated[int, Meta(description="10,000 at most.")]
    transfer_count_complete: Annotated[bool, Meta(description="False when there are more transfers than were counted.")]
    totals: Annotated[list[CurrencyTotals] | None, Meta(description="Null for a ledger of 10,000 accounts or more.")]
    latest_transfers: Annotated[
        list[TransferView], Meta(description="Newest first, 10 at most, and fewer when they are large (about 1 MiB).")
    ]
    busiest_accounts: list[BusyAccount]
