"""Codes of accounts: a chart of accounts over HTTP."""

from itertools import product
from typing import Any

import httpx
import pytest

from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, pointers, problem

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
