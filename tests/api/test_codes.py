"""Codes of accounts: a chart of accounts over HTTP."""

import base64
import json
from itertools import product
from random import Random
from typing import Any

import httpx
import pytest

from tests.api.conftest import MakeClient
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, pointers, problem, unique

SEGMENTS = ("1000", "1000-1", "1000.2", "10001", "1", "a", "Z_")
CHART = ["1000", "1000:cash", "1000:cash", "1000:cash:eur", "1000-1", "1000.2:x", "10001", "2000:a", None]


@pytest.fixture
async def chart(ledger: LedgerClient) -> list[JSON]:
    return [await ledger.account(currency=("USD", "EUR")[number % 2], code=code) for number, code in enumerate(CHART)]


async def walk(ledger: LedgerClient, limit: int = 100, **query: Any) -> list[JSON]:
    """All accounts of a list, page by page."""
    items: list[JSON] = []
    url: httpx.URL | str | None = httpx.URL(ledger.accounts, params=query | {"limit": limit})
    while url is not None:
        response = await ledger.client.get(url)
        page = answer(response)
        items += page["items"]
        url = response.links["next"]["url"] if page["next_cursor"] and page["items"] else None
    return items


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_code_stands_for_whole_segments(
    ledger: LedgerClient, chart: list[JSON], limit: int, order: str
) -> None:
    for group, currency in product(["1000", "1000:cash", "1000:cash:eur", "1", "2000", "3000"], [None, "USD", "EUR"]):
        filters = {"currency": currency} if currency else {}
        expected = sorted(
            (
                one
                for one in chart
                if (one["code"] == group or str(one["code"]).startswith(f"{group}:"))
                and currency in {None, one["currency"]}
            ),
            key=lambda one: (one["code"], one["id"]),
            reverse=order == "desc",
        )
        assert await walk(ledger, limit, code_prefix=group, order=order, **filters) == expected


def codes_behind(chart: list[str], prefix: str | None) -> list[JSON]:
    """What the list of codes must be, from the codes of all accounts."""
    depth = 1 if prefix is None else prefix.count(":") + 2
    inside = sorted(one for one in chart if prefix is None or one.startswith(f"{prefix}:"))
    cut = dict.fromkeys(":".join(one.split(":")[:depth]) for one in inside)
    return [
        {"code": code, "has_accounts": code in chart, "goes_on": any(one.startswith(f"{code}:") for one in chart)}
        for code in cut
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_the_chart_is_listed_a_segment_at_a_time(ledger: LedgerClient, seed: int) -> None:
    """Each code once, also where accounts have it and others lie between it and the codes behind it."""
    chance = Random(seed)
    chart = [":".join(chance.choices(SEGMENTS, k=chance.randint(1, 4))) for _ in range(60)]
    for code in chart:
        await ledger.account(code=code)
    await ledger.account()
    prefixes = {":".join(code.split(":")[:depth]) for code in chart for depth in range(1, 5)}
    for prefix in (None, "2000", "1000:none", *prefixes):
        for limit in (1, 2, 1000):
            expected = codes_behind(chart, prefix)
            assert await list_codes(ledger, limit, **({} if prefix is None else {"prefix": prefix})) == expected


async def list_codes(ledger: LedgerClient, limit: int, **query: str) -> list[JSON]:
    """All codes of a list, page by page; the last page is full, or there was one only."""
    items: list[JSON] = []
    url: httpx.URL | str = httpx.URL(f"{ledger.path}/codes", params=query | {"limit": str(limit)})
    while True:
        response = await ledger.client.get(url)
        page = answer(response)
        assert 0 < len(page["items"]) <= limit or not items
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        url = response.links["next"]["url"]


@pytest.mark.usefixtures("chart")
async def test_a_cursor_leads_to_no_codes_of_others(ledger: LedgerClient) -> None:
    await ledger.account(code="1000:petty")
    path = f"{ledger.path}/codes?limit=1"
    cursor = answer(await ledger.client.get(path))["next_cursor"]
    problem(await ledger.client.get(f"{path}&prefix=1000&cursor={cursor}"), 400, "cursor_invalid")
    cursor = answer(await ledger.client.get(f"{path}&prefix=1000"))["next_cursor"]
    name, place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    assert place == ["1000:cash", True]
    for code, found in (("0", ["1000:cash"]), ("1000-1", ["1000:cash"]), ("2000", []), ("1000;", None)):
        forged = base64.urlsafe_b64encode(json.dumps([name, [code, True]]).encode()).decode().rstrip("=")
        response = await ledger.client.get(f"{path}&prefix=1000&cursor={forged}")
        if found is None:
            problem(response, 400, "cursor_invalid")
        else:
            assert [one["code"] for one in answer(response)["items"]] == found


async def test_codes_are_of_one_ledger_and_reading_is_enough(
    ledger: LedgerClient, client: httpx.AsyncClient, make_client: MakeClient
) -> None:
    await ledger.account(code="9000")
    other = await LedgerClient.open(client, unique("ledger"))
    assert await list_codes(other, 10) == []
    reader = await make_client("read", ledgers=[ledger.name])
    assert [one["code"] for one in await list_codes(ledger.seen_by(reader), 10)] == ["9000"]
    poster = await make_client("transfers:write", ledgers=[ledger.name])
    problem(await poster.get(f"{ledger.path}/codes"), 403, "forbidden")


async def test_just_one_code(ledger: LedgerClient, chart: list[JSON]) -> None:
    cash = [chart[2], chart[1]]
    assert await walk(ledger, 1, code="1000:cash") == cash
    assert await walk(ledger, 1, code="1000:cash", order="asc") == cash[::-1]
    assert await walk(ledger, code="1000:cash", currency="EUR") == [chart[1]]
    assert await walk(ledger, code="1000:cash", status="frozen") == []
    assert await walk(ledger, code="1000:ca") == []


async def test_a_reference_beside_a_code(ledger: LedgerClient) -> None:
    account = await ledger.account(code="1000:cash", reference="till")
    cases: list[tuple[JSON, list[JSON]]] = [
        ({"code": "1000:cash"}, [account]),
        ({"code": "1000"}, []),
        ({"code_prefix": "1000"}, [account]),
        ({"code_prefix": "1000", "status": "closed"}, []),
        ({"code_prefix": "100"}, []),
    ]
    for filters, found in cases:
        assert await walk(ledger, reference="till", **filters) == found


@pytest.mark.usefixtures("chart")
async def test_a_cursor_leads_out_of_no_code(ledger: LedgerClient) -> None:
    first = answer(await ledger.client.get(f"{ledger.accounts}?code_prefix=1000&limit=1"))
    other = await ledger.client.get(f"{ledger.accounts}?code_prefix=2000&limit=1&cursor={first['next_cursor']}")
    problem(other, 400, "cursor_invalid")


async def test_one_filter_of_codes_at_a_time(ledger: LedgerClient) -> None:
    response = await ledger.client.get(f"{ledger.accounts}?code_prefix=1000&code=1000:cash")
    assert pointers(response) == ["/query/code_prefix"]
    response = await ledger.client.get(f"{ledger.accounts}?code_prefix=1000:")
    assert pointers(response) == ["/query/code_prefix"]


async def test_who_moved_an_account_in_the_chart(ledger: LedgerClient) -> None:
    account = await ledger.account(code="1000:cash")
    revised = answer(await ledger.revise(account, code="1100:bank"))
    assert revised["code"] == "1100:bank"
    answer(await ledger.revise(account, code=None))
    assert await walk(ledger, code_prefix="1100") == []
    trail = answer(await ledger.client.get(f"{ledger.accounts}/{account['id']}/history"))["items"]
    assert [one["data"].get("after", one["data"].get("code")) for one in trail] == [
        {"code": None},
        {"code": "1100:bank"},
        "1000:cash",
    ]
    assert [one["client"] for one in trail] == ["admin"] * 3


async def test_a_code_is_a_part_of_what_was_asked(ledger: LedgerClient) -> None:
    headers = keyed()
    asked = {"currency": "USD", "code": "1000"}
    opened = answer(await ledger.client.post(ledger.accounts, json=asked, headers=headers))
    assert answer(await ledger.client.post(ledger.accounts, json=asked, headers=headers)) == opened
    other = await ledger.client.post(ledger.accounts, json=asked | {"code": "2000"}, headers=headers)
    problem(other, 422, "idempotency_key_reused")


async def test_a_tag_covers_the_code(ledger: LedgerClient) -> None:
    account = await ledger.account(code="1000")
    path = f"{ledger.accounts}/{account['id']}"
    before = (await ledger.client.get(path)).headers["ETag"]
    answer(await ledger.revise(account, code="2000"))
    problem(await ledger.revise(account, if_match=before, name="n"), 412, "version_mismatch")
