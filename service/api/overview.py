"""A ledger at a glance."""

from litestar import get
from litestar.di import NamedDependency
from msgspec import Struct

from service.api.context import LedgerRef, Services
from service.api.problems import responses
from service.api.schemas import TransferView, transfer_view
from service.audit.overview import BusyAccount, CurrencyTotals


class OverviewView(Struct, kw_only=True, frozen=True):
    """Counts, totals per currency, the latest transfers and the busiest accounts, all of one moment."""

    ledger: str
    account_counts: dict[str, int]
    transfer_count: int
    totals: list[CurrencyTotals]
    latest_transfers: list[TransferView]
    busiest_accounts: list[BusyAccount]


@get(
    "/v1/ledgers/{ledger_name:str}/overview",
    opt={"scope": "read"},
    operation_id="getOverview",
    tags=["Ledgers"],
    responses=responses(),
)
async def get_overview(services: NamedDependency[Services], ledger: NamedDependency[LedgerRef]) -> OverviewView:
    """Show a ledger at a glance. Everything is read on one snapshot of the database."""
    overview = await services.overviews.read(ledger.id)
    return OverviewView(
        ledger=ledger.name,
        account_counts=overview.account_counts,
        transfer_count=overview.transfer_count,
        totals=list(overview.totals),
        latest_transfers=[transfer_view(ledger.name, row) for row in overview.latest_transfers],
        busiest_accounts=list(overview.busiest_accounts),
    )
