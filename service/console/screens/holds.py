"""Holds: a list, and one with what became of it."""

from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from service.console.visits import Visit
from service.wire.pages import Page
from service.wire.views import AccountView, HoldView, TransferView

_PAGE = 50
_CAPTURES = 50


@get("/ledgers/{ledger_name:str}/holds")
async def show_holds(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    status: FromQuery[str] = "",
    account_id: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> Template:
    """List holds, newest first."""
    query = {"status": status, "account_id": account_id}
    holds = await visit.api.read(Page[HoldView], "ledgers", ledger_name, "holds", limit=_PAGE, cursor=cursor, **query)
    return visit.page("holds.html", ledger=ledger_name, section="holds", holds=holds, query=query, cursor=cursor)


@get("/ledgers/{ledger_name:str}/holds/{hold_id:uuid}")
async def show_hold(visit: NamedDependency[Visit], ledger_name: FromPath[str], hold_id: FromPath[UUID]) -> Template:
    """Show a hold, its accounts and its captures."""
    api, path = visit.api, ("ledgers", ledger_name)
    hold = await api.read(HoldView, *path, "holds", hold_id)
    captures = await api.read(Page[TransferView], *path, "transfers", hold_id=hold_id, limit=_CAPTURES)
    return visit.page(
        "hold.html",
        ledger=ledger_name,
        section="holds",
        hold=hold,
        debit_account=await api.read(AccountView, *path, "accounts", hold.debit_account_id),
        credit_account=await api.read(AccountView, *path, "accounts", hold.credit_account_id),
        captures=captures.items,
    )
