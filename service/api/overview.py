"""A ledger at a glance."""

from typing import Annotated, Any

from litestar import Request, get
from litestar.di import NamedDependency
from msgspec import Meta, Struct

from service.api.context import LedgerRef, Services, reader_for
from service.api.pagination import fitting
from service.api.problems import responses
from service.api.schemas import TransferView, transfer_view
from service.api.security import Principal
from service.audit.overview import BusyAccount, CurrencyTotals, read_overview


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


@get(
    "/v1/ledgers/{ledger_name:str}/overview",
    opt={"scope": "read"},
    operation_id="getOverview",
    tags=["Ledgers"],
    responses=responses(),
)
async def get_overview(
    request: Request[Principal, Any, Any], services: NamedDependency[Services], ledger: NamedDependency[LedgerRef]
) -> OverviewView:
    """Show a ledger at a glance. Everything is read on one snapshot of the database, and counted as far as the answer
    says: what it costs does not grow with the ledger.
    """
    reader = reader_for(request, services.overviews)
    overview = await reader(lambda session: read_overview(session, ledger.id))
    return OverviewView(
        ledger=ledger.name,
        account_counts=overview.account_counts,
        account_counts_complete=overview.account_counts_complete,
        transfer_count=overview.transfer_count,
        transfer_count_complete=overview.transfer_count_complete,
        totals=None if overview.totals is None else list(overview.totals),
        latest_transfers=fitting(transfer_view(ledger.name, row) for row in overview.latest_transfers),
        busiest_accounts=list(overview.busiest_accounts),
    )
