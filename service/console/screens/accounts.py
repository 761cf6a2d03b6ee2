"""Accounts: a list, one with its balances, its holds and its statement, and its files."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Template
from msgspec import Struct

from service.console.charts import Steps, steps
from service.console.events import told
from service.console.screens.actions import possible_changes
from service.console.screens.declined import begin_of_day
from service.console.visits import Visit
from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.wire.balances import BalanceView
from service.wire.events import AccountEvent
from service.wire.pages import Page
from service.wire.statements import StatementView
from service.wire.views import AccountView, HoldView

_PAGE = 50
_HOLDS = 20
_CHANGES = 20
_CHART_LINES = 1_000
"""Of how many lines of a statement the chart is drawn."""
_PERIOD_DAYS = 30


class Period(Struct, frozen=True):
    """What a statement is asked for by: the fields of its form."""

    start: str
    end: str
    axis: str

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the statement."""
        return {"from": begin_of_day(self.start), "to": begin_of_day(self.end), "axis": self.axis}


@get("/ledgers/{ledger_name:str}/accounts")
async def show_accounts(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    status: FromQuery[str] = "",
    currency: FromQuery[str] = "",
    reference: FromQuery[str] = "",
    code_prefix: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> Template:
    """List accounts."""
    query = {"status": status, "currency": currency, "reference": reference, "code_prefix": code_prefix}
    accounts = await visit.api.read(
        Page[AccountView], "ledgers", ledger_name, "accounts", limit=_PAGE, cursor=cursor, **query
    )
    return visit.page(
        "accounts.html", ledger=ledger_name, section="accounts", accounts=accounts, query=query, cursor=cursor
    )


@get("/ledgers/{ledger_name:str}/accounts/{account_id:uuid}")
async def show_account(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    account_id: FromPath[UUID],
    start: FromQuery[str] = "",
    end: FromQuery[str] = "",
    axis: FromQuery[Literal["recorded", "value"]] = "value",
    as_of: FromQuery[str] = "",
    known_at: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> Template:
    """Show an account: now, at two times, and what moved it in a period."""
    api, path = visit.api, ("ledgers", ledger_name, "accounts", account_id)
    account = await api.read(AccountView, *path)
    then = None
    if as_of or known_at:
        times = {"as_of": begin_of_day(as_of), "known_at": begin_of_day(known_at)}
        then = await api.read(BalanceView, *path, "balance", **times)
    period = _period(start, end, axis)
    statement = await api.read(StatementView, *path, "statement", limit=_PAGE, cursor=cursor, **period.query)
    drawn = statement
    if statement.next_cursor is not None and not cursor:
        drawn = await api.read(StatementView, *path, "statement", limit=_CHART_LINES, **period.query)
    holds = await api.read(
        Page[HoldView], "ledgers", ledger_name, "holds", account_id=account_id, status="open", limit=_HOLDS
    )
    changes = await api.read(Page[AccountEvent], *path, "history", limit=_CHANGES)
    return visit.page(
        "account.html",
        ledger=ledger_name,
        section="accounts",
        account=account,
        changes_possible=possible_changes(visit, account),
        then=then,
        as_of=as_of,
        known_at=known_at,
        period=period,
        statement=statement,
        chart=None if cursor or not drawn.items else _chart(drawn),
        chart_whole=drawn.next_cursor is None,
        cursor=cursor,
        holds=holds.items,
        changes=[(one, told(one, account.currency)) for one in changes.items],
    )


@get("/ledgers/{ledger_name:str}/accounts/{account_id:uuid}/statement")
async def get_statement_file(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    account_id: FromPath[UUID],
    start: FromQuery[str],
    end: FromQuery[str],
    form: FromQuery[Literal["csv", "xlsx", "camt053"]],
    axis: FromQuery[Literal["recorded", "value"]] = "value",
) -> Response[Any]:
    """Return the statement as a file, as the API makes it."""
    period = Period(start, end, axis)
    path = ("ledgers", ledger_name, "accounts", account_id, "statement")
    return visit.api.file(path, {**period.query, "format": form})


def _period(start: str, end: str, axis: str) -> Period:
    """Return the period that is asked for; without one, the last days and today."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    return Period(start or str(tomorrow - timedelta(days=_PERIOD_DAYS + 1)), end or str(tomorrow), axis)


def _chart(statement: StatementView) -> Steps:
    """Return the balance along the lines of ``statement``."""
    major = 10 ** MINOR_UNIT_EXPONENTS.get(statement.currency, 0)
    times = [line.effective_at if statement.axis == "value" else line.created_at for line in statement.items]
    points = [(time, line.balance / major) for time, line in zip(times, statement.items, strict=True)]
    end = min(statement.end, max(times[-1], datetime.now(UTC))) if statement.next_cursor is None else times[-1]
    return steps(points, statement.start, end, statement.opening_balance / major)
