"""Searching transfers: what combines, what is refused and what to narrow instead, and what a search takes literally."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.http_ledger import JSON, LedgerClient, answer, problem, unique

DAY, YEAR = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), ("2026-01-01T00:00:00Z", "2027-01-02T00:00:00Z")
LONGER = ("2026-01-01T00:00:00Z", "2027-01-02T00:00:00.000001Z")
ID = "0193a6b2-7c1d-7e4f-8a9b-0c1d2e3f4a5b"


class Shop:
    """A ledger with a transfer for each of ``POSTED``, in that order."""

    POSTED: tuple[dict[str, Any], ...] = (
        {"reference": "100%", "description": "Rent for May, 2026", "metadata": {"channel": "web"}},
        {"reference": "1000", "description": "parental leave", "metadata": {"channel": "web", "shop": "17"}},
        {"reference": "10_0", "description": "RENT (June)", "metadata": {"a:b": "c"}},
        {"reference": "10a0", "metadata": {"channel": "Web"}},
        {"reference": "10\\0", "description": "it's 100% off_season"},
        {"description": "Été"},
    )

    def __init__(self, ledger: LedgerClient, one: JSON, other: JSON) -> None:
        self.ledger, self.one, self.other = ledger, one, other
        self.posted: list[JSON] = []

    @classmethod
    async def open(cls, client: httpx.AsyncClient) -> "Shop":
        ledger = await LedgerClient.open(client, unique("shop"))
        shop = cls(ledger, await ledger.account(reference="one"), await ledger.account(reference="other"))
        for number, members in enumerate(cls.POSTED, 1):
            shop.posted.append(await ledger.move(shop.one, shop.other, number, **members))
        return shop

    async def search(self, **query: Any) -> list[int]:
        """The amounts of what is found, which are the numbers of ``POSTED`` from 1 on, oldest first."""
        response = await self.ledger.client.get(self.ledger.transfers, params={"order": "asc", **query})
        return [one["amount"] for one in answer(response)["items"]]


@pytest.fixture(scope="module")
async def shop(client: httpx.AsyncClient) -> Shop:
    return await Shop.open(client)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("1", [1, 2, 3, 5, 4]),  # by code points: % 0 _ \\ a
        ("10", [2, 1, 5, 3, 4]),
        ("100%", [1]),
        ("10_", [3]),
        ("10\\", [5]),
        ("%", []),
        ("_", []),
        ("1000", [2]),
        ("10000", []),
    ],
)
async def test_a_prefix_is_taken_literally(shop: Shop, prefix: str, expected: list[int]) -> None:
    expected = sorted(expected, key=lambda number: shop.posted[number - 1]["reference"].encode())
    assert await shop.search(reference_prefix=prefix) == expected
    for size in (1, 2):
        response = await shop.ledger.client.get(
            shop.ledger.transfers, params={"reference_prefix": prefix, "limit": size}
        )
        walked = answer(response)["items"]
        while answer(response)["next_cursor"] is not None:
            response = await shop.ledger.client.get(httpx.URL(response.links["next"]["url"]))
            walked += answer(response)["items"]
        assert [one["amount"] for one in walked] == expected[::-1]


async def test_a_list_by_reference_has_an_end(shop: Shop) -> None:
    """What is new may stand anywhere in it."""
    response = await shop.ledger.client.get(shop.ledger.transfers, params={"reference_prefix": "1", "order": "asc"})
    assert answer(response)["next_cursor"] is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("rent", [1, 3]),
        ("RENT", [1, 3]),
        ("may rent", [1]),
        ("2026, (May)", [1]),
        ("ren", []),
        ("100%", [5]),
        ("season", [5]),
        ("it s", [5]),
        ("Été", [6]),
        ("été", []),
        ("rent' OR true --", []),
    ],
)
async def test_words_of_a_description(shop: Shop, words: str, expected: list[int]) -> None:
    assert await shop.search(account_id=shop.one["id"], description=words) == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["channel:web"], [1, 2]),
        (["channel:web", "shop:17"], [2]),
        (["channel:w"], []),
        (["channel:"], []),
        (["a:b:c"], [3]),
        (["chann%:web"], []),
        ([f"channel:{'x' * 500}"], []),
    ],
)
async def test_members_of_the_metadata(shop: Shop, members: list[str], expected: list[int]) -> None:
    assert await shop.search(account_id=shop.one["id"], metadata=members) == expected


async def test_every_filter_together(shop: Shop) -> None:
    posted = shop.posted[1]
    later = (datetime.fromisoformat(posted["created_at"]) + timedelta(microseconds=1)).isoformat()
    filters = {
        "account_id": shop.other["id"],
        "counterparty_id": shop.one["id"],
        "reference": "1000",
        "reference_prefix": "100",
        "created_from": posted["created_at"],
        "created_to": later,
        "effective_from": posted["effective_at"],
        "effective_to": later,
        "amount_min": 2,
        "amount_max": 2,
        "currency": "USD",
        "client": posted["client"],
        "description": "leave",
        "metadata": "shop:17",
    }
    assert await shop.search(**filters) == [2]
    others: dict[str, Any] = {
        "counterparty_id": shop.other["id"],
        "reference": "1001",
        "reference_prefix": "101",
        "created_from": later,
        "created_to": posted["created_at"],
        "effective_from": later,
        "effective_to": posted["created_at"],
        "amount_min": 3,
        "amount_max": 1,
        "currency": "EUR",
        "client": "nobody",
        "description": "leaves",
        "metadata": "shop:1",
    }
    for name, value in others.items():
        assert await shop.search(**filters | {name: value}) == [], name


ASKED = {
    "amount_min": "1",
    "amount_max": "9",
    "currency": "USD",
    "client": "payroll",
    "description": "rent",
    "metadata": "channel:web",
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(
    "narrow",
    [
        {},
        {"created_from": DAY[0]},
        {"created_to": DAY[1]},
        {"effective_from": DAY[0]},
        {"created_from": DAY[0], "effective_to": DAY[1]},
        {"created_from": LONGER[0], "created_to": LONGER[1]},
        {"effective_from": LONGER[0], "effective_to": LONGER[1]},
    ],
)
async def test_a_search_of_a_whole_ledger_is_refused(
    client: httpx.AsyncClient, name: str, narrow: dict[str, str]
) -> None:
    response = await client.get("/v1/ledgers/main/transfers", params={name: ASKED[name], **narrow})
    [fault] = problem(response, 400, "malformed_request")["errors"]
    assert fault["pointer"] == f"/query/{name}"
    assert "an account" in fault["reason"]
    assert "366 days" in fault["reason"]


@pytest.mark.parametrize(
    "narrow",
    [
        {"account_id": ID},
        {"debit_account_reference": "one"},
        {"credit_account_reference": "one"},
        {"hold_id": ID},
        {"reverses_id": ID},
        {"reference": "r"},
        {"reference_prefix": "r"},
        {"created_from": YEAR[0], "created_to": YEAR[1]},
        {"created_from": YEAR[1], "created_to": YEAR[0]},
        {"effective_from": YEAR[0], "effective_to": YEAR[1]},
        {"effective_from": DAY[0], "effective_to": DAY[1], "created_from": YEAR[0]},
    ],
)
async def test_a_search_that_is_narrow_enough(client: httpx.AsyncClient, narrow: dict[str, str]) -> None:
    for name, value in ASKED.items():
        response = await client.get("/v1/ledgers/main/transfers", params={name: value, **narrow})
        assert response.status_code == 200, (name, response.text)


@pytest.mark.parametrize("text", ["?", "...", "%", " ", "«»"])
async def test_a_description_without_words_is_refused(client: httpx.AsyncClient, text: str) -> None:
    response = await client.get("/v1/ledgers/main/transfers", params={"description": text, "account_id": ID})
    [fault] = problem(response, 400, "malformed_request")["errors"]
    assert fault["pointer"] == "/query/description"
