"""A ledger at a glance."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from msgspec import convert

from service.access.principal import Principal
from service.api.context import LedgerRef, Services, reader_for
from service.api.http.pagination import fitting
from service.api.http.problems import responses
from service.api.resources.views import transfer_view
from service.audit.overview import read_overview
from service.wire.overview import BusyAccount, CurrencyTotals, OverviewView


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
    reader = reader_for(request.scope, services.overviews)
    overview = await reader(lambda session: read_overview(session, ledger.id))
    return OverviewView(
        ledger=ledger.name,
        account_counts=overview.account_counts,
        account_counts_complete=overview.account_counts_complete,
        transfer_count=overview.transfer_count,
        transfer_count_complete=overview.transfer_count_complete,
        totals=None
        if overview.totals is None
        else convert(overview.totals, list[CurrencyTotals], from_attributes=True),
        latest_transfers=fitting(transfer_view(ledger.name, row) for row in overview.latest_transfers),
        busiest_accounts=convert(overview.busiest_accounts, list[BusyAccount], from_attributes=True),
    )
