"""The trial balance of a ledger, rolled up along its chart of accounts."""

from typing import Any, Literal

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from service.console.screens.declined import begin_of_day
from service.console.visits import Visit
from service.wire.codes import CodeView
from service.wire.pages import Page
from service.wire.trial_balances import CodeBalance, CodeBalancesView, TrialBalanceView

_PAGE = 100
_CODES = 12
"""Of how many codes of one segment the balances are rolled up on the first page."""


@get("/ledgers/{ledger_name:str}/trial-balance")
async def show_trial_balance(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    as_of: FromQuery[str] = "",
    known_at: FromQuery[str] = "",
    currency: FromQuery[str] = "",
    code: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> Template:
    """Show the balance of every account on the side that it is on, and what codes come to."""
    query = {"as_of": as_of, "known_at": known_at, "currency": currency, "code": code}
    asked = _asked(as_of, known_at, currency, code)
    api, path = visit.api, ("ledgers", ledger_name)
    lines = await api.read(TrialBalanceView, *path, "trial-balance", limit=_PAGE, cursor=cursor, **asked)
    return visit.page(
        "trial_balance.html",
        ledger=ledger_name,
        section="trial-balance",
        lines=lines,
        codes=[] if cursor else await _rolled_up(visit, ledger_name, code, asked),
        query=query,
        cursor=cursor,
    )


@get("/ledgers/{ledger_name:str}/trial-balance/export")
async def get_trial_balance_file(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    form: FromQuery[Literal["csv", "xlsx"]],
    as_of: FromQuery[str] = "",
    known_at: FromQuery[str] = "",
    currency: FromQuery[str] = "",
    code: FromQuery[str] = "",
) -> Response[Any]:
    """Return the trial balance as a file, as the API makes it."""
    asked = _asked(as_of, known_at, currency, code)
    return visit.api.file(("ledgers", ledger_name, "trial-balance"), asked | {"format": form})


def _asked(as_of: str, known_at: str, currency: str, code: str) -> dict[str, str]:
    return {
        "as_of": begin_of_day(as_of),
        "known_at": begin_of_day(known_at),
        "currency": currency,
        "code": code,
    }


async def _rolled_up(visit: Visit, ledger_name: str, code: str, asked: dict[str, str]) -> list[CodeBalance]:
    """Return what ``code`` comes to, by the next segment; without one, what the first codes of one segment do."""
    api, path = visit.api, ("ledgers", ledger_name)
    if code:
        codes = [code]
    else:
        codes = [one.code for one in (await api.read(Page[CodeView], *path, "codes", limit=_CODES)).items]
    found: list[CodeBalance] = []
    for one in codes:
        items = (await api.read(CodeBalancesView, *path, "balances", "by-code", **(asked | {"code": one}))).items
        found += items if code else [item for item in items if item.code == one]
    return found
