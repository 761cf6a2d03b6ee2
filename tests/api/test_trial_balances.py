"""The trial balance, and balances by code: recomputed from the raw rows, at times of what happened and beside."""

import csv
import io
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import asyncpg
import httpx
import openpyxl
import pytest

from tests.api.moves import begin_earlier
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, pointers, problem, unique

CODES = ["1000", "1000:cash", "1000:cash:eur", "1000:cash", "1000-1", "2000:a:x", "2000:a", None]
INSTANT = timedelta(microseconds=1)


def written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@pytest.fixture
async def ledger(client: httpx.AsyncClient, application: Application) -> LedgerClient:
    """A ledger of its own, in which some was dated back, some ahead, and a hold is open."""
    ledger = await LedgerClient.open(client, unique("chart"))
    accounts = [
        await ledger.account(code=code, currency=currency, normal_side=side)
        for (code, currency), side in zip(product(CODES, ["EUR", "USD"]), ["debit", "credit"] * 8, strict=True)
    ]
    await begin_earlier(ledger, application.database, 30)
    for currency in ("EUR", "USD"):
        mine = [one for one in accounts if one["currency"] == currency]
        for number, (debit, credit) in enumerate(zip(mine, mine[1:] + mine[:1], strict=True)):
            dated = {0: {}, 1: {"effective_at": written(datetime.now(UTC) - timedelta(days=number))}}
            dated[2] = {"effective_at": written(datetime.now(UTC) + timedelta(days=number))}
            await ledger.move(debit, credit, 10**number, currency=currency, **dated[number % 3])
    return ledger


async def raw(application: Application, ledger: LedgerClient) -> tuple[list[Any], list[Any]]:
    connection = await asyncpg.connect(application.database.owner_url)
    by_name = "ledger_id = (SELECT id FROM funds.ledgers WHERE name = $1)"
    accounts = await connection.fetch(f"SELECT * FROM funds.accounts WHERE {by_name} ORDER BY id", ledger.name)
    transfers = await connection.fetch(f"SELECT * FROM funds.transfers WHERE {by_name}", ledger.name)
    await connection.close()
    return accounts, transfers


async def walk(ledger: LedgerClient, limit: int = 1000, **query: Any) -> tuple[list[JSON], list[JSON], JSON]:
    """The lines and the totals of all pages, and the last page."""
    items: list[JSON] = []
    totals: list[JSON] = []
    url: httpx.URL | str | None = httpx.URL(f"{ledger.path}/trial-balance", params=query | {"limit": limit})
    page: JSON = {}
    while url is not None:
        response = await ledger.client.get(url)
        assert response.status_code == 200, response.text
        page = answer(response)
        items, totals = items + page["items"], totals + page["totals"]
        assert len(page["items"]) <= limit
        url = response.links["next"]["url"] if page["next_cursor"] else None
    return items, totals, page


def expected(rows: tuple[list[Any], list[Any]], as_of: datetime, known_at: datetime) -> dict[str, tuple[int, int]]:
    """By account, what bookkeeping by hand would have: a debit balance or a credit balance."""
    net: dict[Any, int] = defaultdict(int)
    for one in rows[1]:
        if one["effective_at"] <= as_of and one["created_at"] <= known_at:
            net[one["debit_account_id"]] += one["amount"]
            net[one["credit_account_id"]] -= one["amount"]
    return {
        str(one["id"]): (max(net[one["id"]], 0), max(-net[one["id"]], 0))
        for one in sorted(rows[0], key=lambda one: (one["currency"], one["id"]))
        if one["updated_at"] and one["id"].int >> 80 <= int(known_at.timestamp() * 1000)
    }


def moments(rows: tuple[list[Any], list[Any]]) -> list[datetime]:
    times = {one[name] for one in rows[1] for name in ("effective_at", "created_at")}
    return sorted(time + shift for time in times for shift in (-INSTANT, timedelta(0), INSTANT))


@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_now(application: Application, ledger: LedgerClient, limit: int) -> None:
    now = datetime.now(UTC)
    items, totals, page = await walk(ledger, limit)
    rows = await raw(application, ledger)
    wanted = expected(rows, now, now)
    assert [(one["account_id"], (one["debit_balance"], one["credit_balance"])) for one in items] == [*wanted.items()]
    assert [one["currency"] for one in items] == sorted(one["currency"] for one in items)
    assert (page["ledger"], page["next_cursor"]) == (ledger.name, None)
    for total, currency in zip(totals, ["EUR", "USD"], strict=True):
        mine = [one for one in items if one["currency"] == currency]
        debits = sum(one["debit_balance"] for one in mine)
        assert total == {
            "currency": currency,
            "account_count": len(CODES),
            "debit_balances": str(debits),
            "credit_balances": str(sum(one["credit_balance"] for one in mine)),
        }
        assert total["debit_balances"] == total["credit_balances"]
        assert debits > 0


async def test_at_any_time(application: Application, ledger: LedgerClient) -> None:
    rows = await raw(application, ledger)
    times = moments(rows)
    past = [time for time in times if time <= datetime.now(UTC)]
    for as_of, known_at in [*zip(times, reversed(times * 2), strict=False), *product(times[::17], past[::11])]:
        if known_at > datetime.now(UTC):
            continue
        items, totals, page = await walk(ledger, as_of=written(as_of), known_at=written(known_at))
        found = {one["account_id"]: (one["debit_balance"], one["credit_balance"]) for one in items}
        wanted = expected(rows, as_of, known_at)
        assert {name: found.get(name, (0, 0)) for name in wanted} == wanted, f"as of {as_of}, known at {known_at}"
        assert page["as_of"] == written(as_of)
        assert all(one["debit_balances"] == one["credit_balances"] for one in totals)


async def test_pages_are_of_the_moment_of_the_first(application: Application, ledger: LedgerClient) -> None:
    rows = await raw(application, ledger)
    now = datetime.now(UTC)
    first = await ledger.client.get(f"{ledger.path}/trial-balance?limit=3")
    await ledger.move({"id": str(rows[0][0]["id"])}, {"id": str(rows[0][2]["id"])}, 5, currency="EUR")
    items: list[JSON] = answer(first)["items"]
    url: str | None = first.links["next"]["url"]
    totals: list[JSON] = []
    while url:
        response = await ledger.client.get(url)
        items, totals = items + answer(response)["items"], totals + answer(response)["totals"]
        url = response.links["next"]["url"] if answer(response)["next_cursor"] else None
    wanted = expected(rows, now, now)
    assert {one["account_id"]: (one["debit_balance"], one["credit_balance"]) for one in items} == wanted
    assert [one["currency"] for one in totals] == ["EUR", "USD"]


@pytest.mark.parametrize("limit", [1, 5, 1000])
@pytest.mark.parametrize("currency", [None, "USD"])
async def test_of_a_code(ledger: LedgerClient, limit: int, currency: str | None) -> None:
    filters: JSON = {"currency": currency} if currency else {}
    whole, _, _ = await walk(ledger, **filters)
    for code in ("1000", "1000:cash", "2000:a", "3000", "100"):
        items, totals, _ = await walk(ledger, limit, code=code, **filters)
        wanted = [one for one in whole if one["code"] == code or str(one["code"]).startswith(f"{code}:")]
        assert items == sorted(wanted, key=lambda one: (one["currency"], one["code"], one["account_id"]))
        assert [one["account_count"] for one in totals] == [
            sum(one["currency"] == total["currency"] for one in items) for total in totals
        ]


def rows_of(form: str, content: bytes) -> list[dict[str, str]]:
    if form == "csv":
        return list(csv.DictReader(io.StringIO(content.decode())))
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    heading, *rows = sheet.iter_rows(values_only=True)
    return [{name: "" if cell is None else str(cell) for name, cell in zip(heading, row, strict=True)} for row in rows]


@pytest.mark.parametrize("form", ["csv", "xlsx"])
@pytest.mark.parametrize("query", [{}, {"code": "1000"}, {"currency": "EUR"}])
async def test_files_have_what_the_pages_have(ledger: LedgerClient, form: str, query: JSON) -> None:
    """Read back by other people's parsers."""
    first = (await walk(ledger, **query))[0][0]
    answer(await ledger.revise({"id": first["account_id"]}, name="=1+1"))
    response = await ledger.client.get(f"{ledger.path}/trial-balance", params=query | {"format": form})
    assert response.status_code == 200, response.text
    assert response.headers["Content-Disposition"] == f'attachment; filename="trial-balance.{form}"'
    accepted = {"Accept": response.headers["Content-Type"].partition(";")[0]}
    again = await ledger.client.get(f"{ledger.path}/trial-balance", params=query, headers=accepted)
    assert len(rows_of(form, again.content)) == len(rows_of(form, response.content))
    items, totals, _ = await walk(ledger, **query)
    rows = rows_of(form, response.content)
    lines = [one for one in rows if one["kind"] == "account"]
    assert [
        (one["account_id"], one["currency"], one["code"], int(one["debit_minor"]), int(one["credit_minor"]))
        for one in lines
    ] == [
        (one["account_id"], one["currency"], one["code"] or "", one["debit_balance"], one["credit_balance"])
        for one in items
    ]
    assert {one["name"] for one in lines} <= {"", "'=1+1" if form == "csv" else "=1+1"}
    for one in rows:
        assert float(one["debit"]) == int(one["debit_minor"]) / 100
    assert [(one["currency"], one["debit_minor"], one["credit_minor"]) for one in rows if one["kind"] == "total"] == [
        (one["currency"], one["debit_balances"], one["credit_balances"]) for one in totals
    ]


async def by_code(ledger: LedgerClient, **query: Any) -> JSON:
    response = await ledger.client.get(f"{ledger.path}/balances/by-code", params=query)
    assert response.status_code == 200, response.text
    return answer(response)


@pytest.mark.parametrize("code", ["1000", "1000:cash", "2000", "2000:a:x", "3000"])
async def test_balances_roll_up(application: Application, ledger: LedgerClient, code: str) -> None:
    times = moments(await raw(application, ledger))
    past = [time for time in times if time <= datetime.now(UTC)]
    asked: list[JSON] = [{}, {"as_of": written(times[-1])}]
    for query in [*asked, {"as_of": written(times[3]), "known_at": written(past[-4])}]:
        lines, _, _ = await walk(ledger, code=code, **query)
        sums: dict[tuple[str, str], list[int]] = {}
        for one in lines:
            child = ":".join(one["code"].split(":")[: code.count(":") + 2])
            for name in {code, child}:
                total = sums.setdefault((name, one["currency"]), [0, 0])
                total[0] += 1
                total[1] += one["debit_balance"] - one["credit_balance"]
        found = await by_code(ledger, code=code, **query)
        assert found["items"] == [
            {
                "code": name,
                "currency": currency,
                "account_count": count,
                "debit_balance": str(max(net, 0)),
                "credit_balance": str(max(-net, 0)),
            }
            for (name, currency), [count, net] in sorted(sums.items())
        ]


async def test_a_group_that_is_named_today_has_a_past(application: Application, ledger: LedgerClient) -> None:
    rows = await raw(application, ledger)
    then = written(max(one["created_at"] for one in rows[1]))
    for one in rows[0][:4]:
        answer(await ledger.revise({"id": str(one["id"])}, code=f"9000:{one['currency']}"))
    before = expected(rows, datetime.fromisoformat(then), datetime.fromisoformat(then))
    found = await by_code(ledger, code="9000", as_of=then, known_at=then)
    for currency in ("EUR", "USD"):
        mine = [before[str(one["id"])] for one in rows[0][:4] if one["currency"] == currency]
        net = sum(debit - credit for debit, credit in mine)
        [told] = [one for one in found["items"] if one["code"] == f"9000:{currency}"]
        assert int(told["debit_balance"]) - int(told["credit_balance"]) == net


async def test_what_is_asked_for_wrongly(ledger: LedgerClient) -> None:
    path = f"{ledger.path}/trial-balance"
    ahead = written(datetime.now(UTC) + timedelta(hours=1))
    for asked in (path, f"{ledger.path}/balances/by-code"):
        response = await ledger.client.get(asked, params={"known_at": ahead, "code": "1000"})
        assert pointers(response) == ["/query/known_at"]
        assert pointers(await ledger.client.get(asked, params={"code": "1000:"})) == ["/query/code"]
    first = answer(await ledger.client.get(f"{path}?limit=1&code=1000"))
    other = await ledger.client.get(f"{path}?limit=1&code=2000&cursor={first['next_cursor']}")
    problem(other, 400, "cursor_invalid")


async def test_a_ledger_that_does_not_balance_tells_no_totals(application: Application, ledger: LedgerClient) -> None:
    account = (await raw(application, ledger))[0][0]["id"]
    connection = await asyncpg.connect(application.database.owner_url)
    await connection.execute("UPDATE funds.accounts SET debits_posted = debits_posted + 1 WHERE id = $1", account)
    await connection.close()
    for form in ("json", "csv", "xlsx"):
        response = await ledger.client.get(f"{ledger.path}/trial-balance?format={form}")
        problem(response, 500, "internal_error")


async def test_an_empty_ledger(client: httpx.AsyncClient) -> None:
    items, totals, _ = await walk(await LedgerClient.open(client, unique("empty")))
    assert items == totals == []
