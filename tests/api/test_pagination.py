"""Lists in pages: everything once, newest first, by cursor or by Link; limits and cursors that are refused."""

import base64
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.ledger import JSON, Book, answer, item, keyed, problem, unique


def _path_of_next(response: httpx.Response) -> str | None:
    link = response.headers.get("Link")
    if link is None:
        return None
    match = re.fullmatch(r'<(/[^>]*)>; rel="next"', link)
    assert match is not None, link
    return match[1]


async def _pages(client: httpx.AsyncClient, path: str, **query: Any) -> AsyncIterator[list[JSON]]:
    """Follow the Link of each page, which must say the same as its cursor."""
    next_path: str | None = str(httpx.URL(path, params=query))
    while next_path is not None:
        response = await client.get(next_path)
        page = answer(response)
        assert len(page["items"]) <= int(query.get("limit", 100))
        yield page["items"]
        next_path = _path_of_next(response)
        if next_path is None:
            assert page["next_cursor"] is None
        else:
            assert dict(httpx.URL(next_path).params) == {
                **{name: str(value) for name, value in query.items()},
                "cursor": page["next_cursor"],
            }


async def _walk(client: httpx.AsyncClient, path: str, **query: Any) -> list[str]:
    """Return the ids of everything that the list has, page by page."""
    return [_name(one) async for page in _pages(client, path, **query) for one in page]


def _name(one: JSON) -> str:
    """What tells an item of a list from the others."""
    return str(one.get("id") or one.get("idempotency_key") or one["name"])


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 1000])
async def test_pages_hold_everything_once_newest_first(book: Book, limit: int) -> None:
    accounts = [await book.account() for _ in range(7)]
    expected = [one["id"] for one in reversed(accounts)]
    assert await _walk(book.client, book.accounts, limit=limit) == expected


async def test_the_last_page_has_no_next(book: Book) -> None:
    await book.account()
    response = await book.client.get(f"{book.accounts}?limit=1")
    assert answer(response)["next_cursor"] is None
    assert "Link" not in response.headers


async def test_a_page_holds_a_hundred_unless_told(book: Book) -> None:
    debit, credit = await book.account(), await book.account()
    await book.batch(*(item(debit, credit) for _ in range(101)))
    sizes = [len(page) async for page in _pages(book.client, book.transfers)]
    assert sizes == [100, 1]


async def test_ledgers_are_walked_by_name(book: Book) -> None:
    names = await _walk(book.client, "/v1/ledgers", limit=5)
    assert names == sorted(set(names))
    assert {"main", book.name} <= set(names)


async def test_what_comes_while_walking_disturbs_no_page(book: Book) -> None:
    accounts = [await book.account() for _ in range(4)]
    walked: list[str] = []
    async for page in _pages(book.client, book.accounts, limit=2):
        walked += [one["id"] for one in page]
        await book.account()
    assert walked == [one["id"] for one in reversed(accounts)]


GROWING = [
    "transfers",
    "transfers?account_id={a}",
    "transfers?account_id={a}&reference=r",
    "transfers?debit_account_reference=a",
    "transfers?reference=r",
    "holds",
    "holds?account_id={a}",
    "holds?account_id={a}&status=open",
    "holds?status=open",
    "decisions",
    "decisions?account_id={a}",
]


@pytest.mark.parametrize("path", GROWING)
async def test_what_is_written_while_walking_disturbs_no_page(book: Book, path: str) -> None:
    a, b = await book.account(reference="a"), await book.account(reference="b")
    poor = await book.account(minimum_balance=0)

    async def write() -> None:
        await book.move(a, b, reference="r")
        hold = {"debit_account_id": a["id"], "credit_account_id": b["id"], "amount": 1, "currency": "USD"}
        answer(await book.client.post(f"{book.path}/holds", json=hold, headers=keyed()))
        problem(await book.post(poor, a), 422, "insufficient_funds")

    for _ in range(5):
        await write()
    url = f"{book.path}/{path.format(a=a['id'])}"
    expected = [_name(one) for one in answer(await book.client.get(url))["items"]]
    assert len(expected) == 5

    walked: list[str] = []
    async for page in _pages(book.client, url.partition("?")[0], limit=2, **dict(httpx.URL(url).params)):
        walked += map(_name, page)
        await write()
    assert walked == expected


class Traffic:
    """Seven transfers among three accounts, oldest first."""

    def __init__(self, book: Book) -> None:
        self.book = book  # nothing else may happen in it: tests share it
        self.accounts: list[JSON] = []
        self.posted: list[JSON] = []

    async def make(self) -> None:
        self.accounts = [await self.book.account(reference=name) for name in ("a", "b", "c")]
        a, b, c = self.accounts
        for number, (debit, credit) in enumerate([(a, b), (b, a), (b, c), (a, c), (c, a), (a, b), (b, c)]):
            self.posted.append(await self.book.move(debit, credit, reference="odd" if number % 2 else "even"))

    def newest_first(self, **members: Any) -> list[str]:
        """The ids of those that have these members."""
        return [one["id"] for one in reversed(self.posted) if one | members == one]


@pytest.fixture(scope="module")
async def traffic(client: httpx.AsyncClient) -> Traffic:
    traffic = Traffic(await Book.open(client, unique("traffic")))
    await traffic.make()
    return traffic


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_transfers_filter_by_account_on_either_side(traffic: Traffic, limit: int) -> None:
    book, [a, *_] = traffic.book, traffic.accounts
    expected = [
        one["id"] for one in reversed(traffic.posted) if a["id"] in {one["debit_account_id"], one["credit_account_id"]}
    ]
    assert await _walk(book.client, book.transfers, account_id=a["id"], limit=limit) == expected
    expected = [one for one in expected if one in traffic.newest_first(reference="odd")]
    assert await _walk(book.client, book.transfers, account_id=a["id"], reference="odd", limit=limit) == expected


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("side", ["debit", "credit"])
async def test_transfers_filter_by_an_accounts_reference(traffic: Traffic, side: str, limit: int) -> None:
    book, [a, *_] = traffic.book, traffic.accounts
    expected = traffic.newest_first(**{f"{side}_account_id": a["id"]})
    assert len(expected) > 1
    assert await _walk(book.client, book.transfers, **{f"{side}_account_reference": "a"}, limit=limit) == expected


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_transfers_filter_by_reference(traffic: Traffic, limit: int) -> None:
    book = traffic.book
    assert await _walk(book.client, book.transfers, reference="even", limit=limit) == traffic.newest_first(
        reference="even"
    )
    assert await _walk(book.client, book.transfers, reference="neither", limit=limit) == []


@pytest.mark.parametrize("by_account", [False, True])
async def test_transfers_filter_by_time_from_inclusive_to_exclusive(traffic: Traffic, by_account: bool) -> None:  # noqa: FBT001
    book, [_, b, _] = traffic.book, traffic.accounts
    query = {"account_id": b["id"]} if by_account else {}
    everything = await _walk(book.client, book.transfers, **query)
    first, last = traffic.posted[1], traffic.posted[5]
    between = [one for one in everything if first["id"] <= one < last["id"]]
    assert first["id"] in between
    times = {"created_from": first["created_at"], "created_to": last["created_at"]}
    assert await _walk(book.client, book.transfers, **query, **times, limit=2) == between

    later = (datetime.fromisoformat(last["created_at"]) + timedelta(microseconds=1)).isoformat()
    up_to_last = await _walk(book.client, book.transfers, **query, created_to=later, limit=2)
    assert up_to_last == [one for one in everything if one <= last["id"]]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-02T00:00:00+23:59"])
async def test_times_at_the_calendars_ends(traffic: Traffic, time: str) -> None:
    book = traffic.book
    after = await _walk(book.client, book.transfers, created_from=time)
    before = await _walk(book.client, book.transfers, created_to=time)
    assert [after, before] in ([traffic.newest_first(), []], [[], traffic.newest_first()])


async def test_filters_that_find_nothing(traffic: Traffic) -> None:
    book = traffic.book
    for query in ({"account_id": str(uuid4())}, {"debit_account_reference": "z"}, {"credit_account_reference": "z"}):
        assert await _walk(book.client, book.transfers, **query) == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("account_id={id}&debit_account_reference=a", "/query"),
        ("account_id={id}&credit_account_reference=a", "/query"),
        ("debit_account_reference=a&credit_account_reference=a", "/query"),
        ("debit_account_reference=a&reference=r", "/query/reference"),
        ("debit_account_reference=a&created_from=2026-01-01T00:00:00Z", "/query/reference"),
        ("credit_account_reference=a&created_to=2026-01-01T00:00:00Z", "/query/reference"),
    ],
)
async def test_filters_that_exclude_each_other(client: httpx.AsyncClient, query: str, pointer: str) -> None:
    response = await client.get(f"/v1/ledgers/main/transfers?{query.format(id=uuid4())}")
    [fault] = problem(response, 400, "malformed_request")["errors"]
    assert fault["pointer"].startswith(pointer)


def _cursor(obj: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(obj).encode()).decode().rstrip("=")


FORGED = [
    "",
    "a",
    "abc",
    "!!!",
    "%00%00",
    "=",
    "====",
    "ü",
    _cursor(None),
    _cursor({}),
    _cursor([]),
    _cursor(1.5),
    _cursor(obj=True),
]


@pytest.mark.parametrize("cursor", FORGED)
@pytest.mark.parametrize("path", ["/v1/ledgers", "accounts", "transfers"])
async def test_a_cursor_that_nobody_was_given(client: httpx.AsyncClient, path: str, cursor: str) -> None:
    path = path if path.startswith("/") else f"/v1/ledgers/main/{path}"
    response = await client.get(path, params={"cursor": cursor})
    problem(response, 400, "cursor_invalid")


LISTS = [
    "/v1/ledgers",
    "accounts",
    "accounts?currency=USD",
    "accounts?status=open",
    "transfers",
    "transfers?account_id={b}",
    "transfers?account_id={c}",
    "transfers?reference=even",
    "transfers?reference=odd",
    "transfers?debit_account_reference=a",
    "transfers?credit_account_reference=a",
]


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_continues_its_own_list_only(traffic: Traffic, path: str) -> None:
    ids = {name: account["id"] for name, account in zip("abc", traffic.accounts, strict=True)}

    async def page(of: str, **query: object) -> httpx.Response:
        url = httpx.URL(of.format(**ids) if of.startswith("/") else f"{traffic.book.path}/{of.format(**ids)}")
        return await traffic.book.client.get(url.copy_merge_params(query))  # type: ignore[arg-type]

    cursor = answer(await page(path, limit=1))["next_cursor"]
    for other in LISTS:
        continued = await page(other, cursor=cursor)
        if other == path:
            assert continued.status_code == 200
        else:
            problem(continued, 400, "cursor_invalid")


async def test_a_cursor_goes_with_any_limit_and_order_of_filters(traffic: Traffic) -> None:
    book, [_, b, _] = traffic.book, traffic.accounts
    filters = [f"account_id={b['id']}", "reference=even"]
    cursor = answer(await book.client.get(f"{book.transfers}?{filters[0]}&{filters[1]}&limit=1"))["next_cursor"]
    for query in (f"{filters[1]}&{filters[0]}", f"{filters[0]}&limit=5&{filters[1]}"):
        assert (await book.client.get(f"{book.transfers}?{query}&cursor={cursor}")).status_code == 200


@pytest.mark.parametrize("position", [5, "main", -1, 2**63, None, {}])
async def test_a_cursor_with_another_position(traffic: Traffic, position: object) -> None:
    """The name of the list is no secret: a position that is none must be refused too."""
    book = traffic.book
    cursor = answer(await book.client.get(f"{book.transfers}?limit=1"))["next_cursor"]
    name, _ = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    response = await book.client.get(f"{book.transfers}?cursor={_cursor(obj=[name, position])}")
    problem(response, 400, "cursor_invalid")
