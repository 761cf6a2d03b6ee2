"""Lists in pages: everything once, in either order, by cursor or by Link; limits and cursors that are refused."""

import base64
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, problem, unique


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
async def test_pages_hold_everything_once_newest_first(ledger: LedgerClient, limit: int) -> None:
    accounts = [await ledger.account() for _ in range(7)]
    expected = [one["id"] for one in reversed(accounts)]
    assert await _walk(ledger.client, ledger.accounts, limit=limit) == expected


async def test_the_last_page_has_no_next(ledger: LedgerClient) -> None:
    await ledger.account()
    response = await ledger.client.get(f"{ledger.accounts}?limit=1")
    assert answer(response)["next_cursor"] is None
    assert "Link" not in response.headers


async def test_the_next_page_is_asked_for_as_the_first_one_was(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    await ledger.batch(*(item(debit, credit, reference="r") for _ in range(2)))
    query = {
        "limit": "1",
        "account_id": debit["id"],
        "order": "asc",
        "reference": "r",
        "created_from": "2000-01-01T00:00:00Z",
    }
    for names in (list(query), list(query)[::-1]):
        response = await ledger.client.get(ledger.transfers, params={name: query[name] for name in names})
        next_path = _path_of_next(response)
        assert next_path is not None
        assert list(httpx.URL(next_path).params) == [*names, "cursor"]


async def test_a_page_holds_a_hundred_unless_told(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    await ledger.batch(*(item(debit, credit) for _ in range(101)))
    sizes = [len(page) async for page in _pages(ledger.client, ledger.transfers)]
    assert sizes == [100, 1]


async def test_ledgers_are_walked_by_name(ledger: LedgerClient) -> None:
    """To an end in either order: a new one may have any name."""
    names = await _walk(ledger.client, "/v1/ledgers", limit=5)
    assert names == sorted(set(names))
    assert {"main", ledger.name} <= set(names)
    assert await _walk(ledger.client, "/v1/ledgers", limit=5, order="asc") == names
    assert await _walk(ledger.client, "/v1/ledgers", limit=5, order="desc") == names[::-1]


async def test_what_comes_while_walking_disturbs_no_page(ledger: LedgerClient) -> None:
    accounts = [await ledger.account() for _ in range(4)]
    walked: list[str] = []
    async for page in _pages(ledger.client, ledger.accounts, limit=2):
        walked += [one["id"] for one in page]
        await ledger.account()
    assert walked == [one["id"] for one in reversed(accounts)]


GROWING = [
    "transfers",
    "transfers?account_id={a}",
    "transfers?account_id={a}&reference=r",
    "transfers?debit_account_reference=a",
    "transfers?reference=r",
    "transfers?account_id={a}&counterparty_id={b}&amount_min=1",
    "transfers?debit_account_reference=a&currency=USD",
    "transfers?reference=r&description=rent",
    "transfers?created_from=2026-01-01T00:00:00Z&created_to=2026-12-31T00:00:00Z&metadata=channel:web",
    "transfers?effective_from=2026-01-01T00:00:00Z",
    "holds",
    "holds?account_id={a}",
    "holds?account_id={a}&status=open",
    "holds?status=open",
    "decisions",
    "decisions?account_id={a}",
]


class Growth:
    """A ledger of which every list of GROWING gets one item more at a time."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._accounts: list[JSON] = []

    async def begin(self) -> None:
        self._accounts = [await self._ledger.account(reference=name) for name in ("a", "b")]
        self._accounts.append(await self._ledger.account(minimum_balance=0))

    async def write(self) -> None:
        ledger, [a, b, poor] = self._ledger, self._accounts
        await ledger.move(a, b, reference="r", description="Rent", metadata={"channel": "web"})
        hold = {"debit_account_id": a["id"], "credit_account_id": b["id"], "amount": 1, "currency": "USD"}
        answer(await ledger.client.post(f"{ledger.path}/holds", json=hold, headers=keyed()))
        problem(await ledger.post(poor, a), 422, "insufficient_funds")

    def url(self, path: str) -> httpx.URL:
        return httpx.URL(f"{self._ledger.path}/{path.format(**self._ids())}")

    def _ids(self) -> dict[str, str]:
        return {name: account["id"] for name, account in zip("ab", self._accounts, strict=False)}


@pytest.fixture
async def growth(ledger: LedgerClient) -> Growth:
    growth = Growth(ledger)
    await growth.begin()
    for _ in range(5):
        await growth.write()
    return growth


@pytest.mark.parametrize("path", [*GROWING, "transfers?reference_prefix=r"])
async def test_what_is_written_while_walking_disturbs_no_page(ledger: LedgerClient, growth: Growth, path: str) -> None:
    url = growth.url(path)
    expected = [_name(one) for one in answer(await ledger.client.get(url))["items"]]
    assert len(expected) == 5

    walked: list[str] = []
    async for page in _pages(ledger.client, url.path, limit=2, **dict(url.params)):
        walked += map(_name, page)
        await growth.write()
    assert walked == expected


async def _follow(client: httpx.AsyncClient, url: httpx.URL) -> tuple[list[str], httpx.URL]:
    """Return what the list has from ``url`` on, up to its end, and where it goes on there: by the Link of each page,
    which must say the same as its cursor.
    """
    found: list[str] = []
    while True:
        response = await client.get(url)
        page = answer(response)
        found += map(_name, page["items"])
        next_path = _path_of_next(response)
        assert next_path is not None
        assert httpx.URL(next_path).params == url.params.set("cursor", page["next_cursor"])
        if page["next_cursor"] == url.params.get("cursor"):
            assert httpx.URL(next_path) == url
            assert page["items"] == []
            return found, url
        url = httpx.URL(next_path)


@pytest.mark.parametrize("path", GROWING)
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_a_follower_goes_on_where_the_list_ended(
    ledger: LedgerClient, growth: Growth, path: str, limit: int
) -> None:
    url = growth.url(path).copy_merge_params({"order": "asc", "limit": limit})
    followed, end = await _follow(ledger.client, url)
    assert len(followed) == 5
    assert await _follow(ledger.client, end) == ([], end)
    for _ in range(3):
        await growth.write()
        later, end = await _follow(ledger.client, end)
        assert len(later) == 1
        followed += later
    falling = [_name(one) for one in answer(await ledger.client.get(growth.url(path)))["items"]]
    assert followed == falling[::-1]


async def test_a_list_that_is_empty_yet_is_followed_from_its_beginning(ledger: LedgerClient) -> None:
    path = f"{ledger.transfers}?order=asc"
    response = await ledger.client.get(path)
    assert answer(response) == {"items": [], "next_cursor": None}
    assert "Link" not in response.headers
    posted = await ledger.move(await ledger.account(), await ledger.account())
    assert [one["id"] for one in answer(await ledger.client.get(path))["items"]] == [posted["id"]]


async def test_accounts_are_followed_too(ledger: LedgerClient) -> None:
    accounts = [(await ledger.account())["id"] for _ in range(3)]
    followed, end = await _follow(ledger.client, httpx.URL(ledger.accounts, params={"order": "asc", "limit": 2}))
    assert followed == accounts
    accounts.append((await ledger.account())["id"])
    assert (await _follow(ledger.client, end))[0] == accounts[3:]


class Traffic:
    """Seven transfers among three accounts, oldest first."""

    def __init__(self, ledger: LedgerClient) -> None:
        self.ledger = ledger  # nothing else may happen in it: tests share it
        self.accounts: list[JSON] = []
        self.posted: list[JSON] = []

    async def make(self) -> None:
        self.accounts = [await self.ledger.account(reference=name) for name in ("a", "b", "c")]
        a, b, c = self.accounts
        for number, (debit, credit) in enumerate([(a, b), (b, a), (b, c), (a, c), (c, a), (a, b), (b, c)]):
            self.posted.append(await self.ledger.move(debit, credit, reference="odd" if number % 2 else "even"))

    def newest_first(self, **members: Any) -> list[str]:
        """The ids of those that have these members."""
        return [one["id"] for one in reversed(self.posted) if one | members == one]


@pytest.fixture(scope="module")
async def traffic(client: httpx.AsyncClient) -> Traffic:
    traffic = Traffic(await LedgerClient.open(client, unique("traffic")))
    await traffic.make()
    return traffic


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_transfers_filter_by_account_on_either_side(traffic: Traffic, limit: int) -> None:
    ledger, [a, *_] = traffic.ledger, traffic.accounts
    expected = [
        one["id"] for one in reversed(traffic.posted) if a["id"] in {one["debit_account_id"], one["credit_account_id"]}
    ]
    assert await _walk(ledger.client, ledger.transfers, account_id=a["id"], limit=limit) == expected
    expected = [one for one in expected if one in traffic.newest_first(reference="odd")]
    assert await _walk(ledger.client, ledger.transfers, account_id=a["id"], reference="odd", limit=limit) == expected


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("side", ["debit", "credit"])
async def test_transfers_filter_by_an_accounts_reference(traffic: Traffic, side: str, limit: int) -> None:
    ledger, [a, *_] = traffic.ledger, traffic.accounts
    expected = traffic.newest_first(**{f"{side}_account_id": a["id"]})
    assert len(expected) > 1
    assert await _walk(ledger.client, ledger.transfers, **{f"{side}_account_reference": "a"}, limit=limit) == expected


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_transfers_filter_by_reference(traffic: Traffic, limit: int) -> None:
    ledger = traffic.ledger
    assert await _walk(ledger.client, ledger.transfers, reference="even", limit=limit) == traffic.newest_first(
        reference="even"
    )
    assert await _walk(ledger.client, ledger.transfers, reference="neither", limit=limit) == []


@pytest.mark.parametrize("by_account", [False, True])
async def test_transfers_filter_by_time_from_inclusive_to_exclusive(traffic: Traffic, by_account: bool) -> None:  # noqa: FBT001
    ledger, [_, b, _] = traffic.ledger, traffic.accounts
    query = {"account_id": b["id"]} if by_account else {}
    everything = await _walk(ledger.client, ledger.transfers, **query)
    first, last = traffic.posted[1], traffic.posted[5]
    between = [one for one in everything if first["id"] <= one < last["id"]]
    assert first["id"] in between
    times = {"created_from": first["created_at"], "created_to": last["created_at"]}
    assert await _walk(ledger.client, ledger.transfers, **query, **times, limit=2) == between

    later = (datetime.fromisoformat(last["created_at"]) + timedelta(microseconds=1)).isoformat()
    up_to_last = await _walk(ledger.client, ledger.transfers, **query, created_to=later, limit=2)
    assert up_to_last == [one for one in everything if one <= last["id"]]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-02T00:00:00+23:59"])
async def test_times_at_the_calendars_ends(traffic: Traffic, time: str) -> None:
    ledger = traffic.ledger
    after = await _walk(ledger.client, ledger.transfers, created_from=time)
    before = await _walk(ledger.client, ledger.transfers, created_to=time)
    assert [after, before] in ([traffic.newest_first(), []], [[], traffic.newest_first()])


async def test_filters_that_find_nothing(traffic: Traffic) -> None:
    ledger = traffic.ledger
    for query in ({"account_id": str(uuid4())}, {"debit_account_reference": "z"}, {"credit_account_reference": "z"}):
        assert await _walk(ledger.client, ledger.transfers, **query) == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("account_id={id}&debit_account_reference=a", "/query"),
        ("account_id={id}&credit_account_reference=a", "/query"),
        ("debit_account_reference=a&credit_account_reference=a", "/query"),
        ("hold_id={id}&reverses_id={id}", "/query"),
        ("counterparty_id={id}", "/query/counterparty_id"),
        ("counterparty_id={id}&hold_id={id}", "/query/counterparty_id"),
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
    "/v1/ledgers?order=desc",
    "accounts",
    "accounts?order=asc",
    "accounts?currency=USD",
    "accounts?status=open",
    "transfers",
    "transfers?order=asc",
    "transfers?account_id={b}",
    "transfers?account_id={b}&order=asc",
    "transfers?account_id={c}",
    "transfers?reference=even",
    "transfers?reference=even&order=asc",
    "transfers?reference=odd",
    "transfers?reference_prefix=even",
    "transfers?reference_prefix=even&order=asc",
    "transfers?reference_prefix=even&amount_min=1",
    "transfers?reference_prefix=even&amount_max=1",
    "transfers?debit_account_reference=a",
    "transfers?credit_account_reference=a",
]


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_continues_its_own_list_only(traffic: Traffic, path: str) -> None:
    ids = {name: account["id"] for name, account in zip("abc", traffic.accounts, strict=True)}

    async def page(of: str, **query: object) -> httpx.Response:
        url = httpx.URL(of.format(**ids) if of.startswith("/") else f"{traffic.ledger.path}/{of.format(**ids)}")
        return await traffic.ledger.client.get(url.copy_merge_params(query))  # type: ignore[arg-type]

    cursor = answer(await page(path, limit=1))["next_cursor"]
    for other in LISTS:
        continued = await page(other, cursor=cursor)
        if other == path:
            assert continued.status_code == 200
        else:
            problem(continued, 400, "cursor_invalid")


async def test_a_cursor_goes_with_any_limit_and_order_of_filters(traffic: Traffic) -> None:
    ledger, [_, b, _] = traffic.ledger, traffic.accounts
    filters = [f"account_id={b['id']}", "reference=even"]
    cursor = answer(await ledger.client.get(f"{ledger.transfers}?{filters[0]}&{filters[1]}&limit=1"))["next_cursor"]
    for query in (
        f"{filters[1]}&{filters[0]}",
        f"{filters[0]}&limit=5&{filters[1]}",
        f"order=desc&{'&'.join(filters)}",
    ):
        assert (await ledger.client.get(f"{ledger.transfers}?{query}&cursor={cursor}")).status_code == 200


@pytest.mark.parametrize("position", [5, "main", -1, 2**63, None, {}])
async def test_a_cursor_with_another_position(traffic: Traffic, position: object) -> None:
    """The name of the list is no secret: a position that is none must be refused too."""
    ledger = traffic.ledger
    cursor = answer(await ledger.client.get(f"{ledger.transfers}?limit=1"))["next_cursor"]
    name, _ = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    response = await ledger.client.get(f"{ledger.transfers}?cursor={_cursor(obj=[name, position])}")
    problem(response, 400, "cursor_invalid")
