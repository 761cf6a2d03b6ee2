"""The feed of a ledger: everything that happens in it, in order, from any event on; who waits is answered when it
comes.
"""

import asyncio
import json
import time
from collections import Counter
from typing import Any, get_args, get_type_hints

import httpx
import pytest

from service.api.resources import events as resource
from service.wire.events import AnyEvent
from tests.api.conftest import MakeClient
from tests.api.moves import open_hold, post_hold, void
from tests.api.test_history import documented_types
from tests.storage.paging import queries
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers, problem, unique
from tests.support.servers import TestPostgres

LONG = 30
UNKNOWN_ID = "d7a3f0b2-4c61-4e8e-9d5a-1b2c3d4e5f60"


async def events(ledger: LedgerClient, **query: Any) -> JSON:
    return dict(answer(await ledger.client.get(f"{ledger.path}/events", params=query)))


async def wait_for_followers(application: Application, count: int) -> None:
    """Wait until as many wait in the application."""
    followers = application.app.state.services.feed._followers
    while followers._taken.total() < count:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(0.01)


def types(page: JSON) -> list[str]:
    return [one["type"].removeprefix("funds.") for one in page["items"]]


async def test_everything_in_order_from_any_event_on(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    await void(ledger, hold)
    problem(await post_hold(ledger, payer, payee, "too-much", amount=1_000), 422, "insufficient_funds")
    await ledger.revise(payee, name="n")
    answer(await ledger.client.post(f"{ledger.path}/idempotency-keys/never/fence", headers=keyed()))
    everything = await events(ledger)
    assert Counter(types(everything)) == {
        "ledger.created": 1,
        "account.opened": 3,
        "transfer.posted": 1,
        "hold.opened": 1,
        "hold.voided": 1,
        "command.rejected": 1,
        "account.revised": 1,
        "key.fenced": 1,
    }
    assert types(everything)[0] == "ledger.created"
    ids = [one["id"] for one in everything["items"]]
    assert ids == sorted(set(ids))
    assert everything["last_id"] == ids[-1]

    for limit in (1, 3, 1000):
        walked: list[str] = []
        after: dict[str, str] = {}
        while (page := await events(ledger, limit=limit, **after))["items"]:
            assert len(page["items"]) <= limit
            walked += [one["id"] for one in page["items"]]
            after = {"after": page["last_id"]}
        assert walked == ids
        assert page["last_id"] == ids[-1]


def test_every_type_is_described_as_it_is_documented() -> None:
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(AnyEvent)}
    documented = dict(documented_types())
    assert kinds.keys() == documented.keys()
    for name, kind in kinds.items():
        assert list(get_type_hints(kind)["data"].__struct_fields__) == documented[name]


async def test_of_an_empty_page_the_place_is_what_was_asked(ledger: LedgerClient) -> None:
    [created] = (await events(ledger))["items"]
    assert await events(ledger, after=created["id"]) == {"items": [], "last_id": created["id"]}
    future = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    assert await events(ledger, after=future) == {"items": [], "last_id": future}


async def test_who_waits_is_answered_when_something_happens(ledger: LedgerClient) -> None:
    known = (await events(ledger))["last_id"]
    began = time.monotonic()
    waiting = [asyncio.create_task(events(ledger, after=known, wait_seconds=LONG)) for _ in range(5)]
    await asyncio.sleep(0.3)
    assert not any(one.done() for one in waiting)
    account = await ledger.account()
    for page in await asyncio.gather(*waiting):
        assert [one["subject"] for one in page["items"]] == [account["id"]]
        assert page["last_id"] == account["id"]
    assert time.monotonic() - began < LONG


async def test_what_is_there_is_waited_for_by_nobody(ledger: LedgerClient) -> None:
    began = time.monotonic()
    assert types(await events(ledger, wait_seconds=LONG)) == ["ledger.created"]
    assert time.monotonic() - began < LONG


async def test_a_wait_ends(ledger: LedgerClient) -> None:
    known = (await events(ledger))["last_id"]
    began = time.monotonic()
    assert await events(ledger, after=known, wait_seconds=1) == {"items": [], "last_id": known}
    assert time.monotonic() - began >= 1


async def test_a_ledgers_events_are_its_own(ledger: LedgerClient) -> None:
    other = await LedgerClient.open(ledger.client, unique("other"))
    known = (await events(ledger))["last_id"]
    waiting = asyncio.create_task(events(ledger, after=known, wait_seconds=2))
    await other.account()
    assert (await waiting)["items"] == []
    assert {one["source"] for one in (await events(other))["items"]} == {other.path}


async def test_large_events_make_a_page_shorter(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    metadata = {f"name {number}": "x" * 500 for number in range(20)}
    for _ in range(2):
        await ledger.batch(*(item(debit, credit, metadata=metadata) for _ in range(100)))
    sizes = []
    after: dict[str, str] = {}
    while (page := await events(ledger, limit=1000, **after))["items"]:
        sizes.append(len(page["items"]))
        after = {"after": page["last_id"]}
    assert sum(sizes) == 203
    assert len(sizes) > 1
    assert max(sizes) < 150


@pytest.mark.parametrize("after", ["", "x", "5", UNKNOWN_ID[:-1], f"urn:uuid:{UNKNOWN_ID}"])
async def test_an_id_that_is_none(ledger: LedgerClient, after: str) -> None:
    response = await ledger.client.get(f"{ledger.path}/events", params={"after": after})
    assert pointers(response) == ["/query/after"]
    response = await ledger.client.get(f"{ledger.path}/events", headers={"Last-Event-ID": after})
    assert pointers(response) == ["/header/Last-Event-ID"]


@pytest.mark.parametrize("wait_seconds", ["-1", "31", "1.5", "x"])
async def test_a_wait_that_is_none(ledger: LedgerClient, wait_seconds: str) -> None:
    response = await ledger.client.get(f"{ledger.path}/events", params={"wait_seconds": wait_seconds})
    assert pointers(response) == ["/query/wait_seconds"]


async def test_the_last_event_id_goes_before_after(ledger: LedgerClient) -> None:
    account = await ledger.account()
    [created, opened] = (await events(ledger))["items"]
    headers = {"Last-Event-ID": created["id"]}
    response = await ledger.client.get(f"{ledger.path}/events", params={"after": opened["id"]}, headers=headers)
    assert [one["subject"] for one in answer(response)["items"]] == [account["id"]]


async def test_who_may_follow(ledger: LedgerClient, make_client: MakeClient) -> None:
    path = f"{ledger.path}/events"
    assert (await (await make_client("read")).get(path)).status_code == 200
    problem(await (await make_client("transfers:write")).get(path), 403, "forbidden")
    problem(await (await make_client("read", ledgers=["main"])).get(path), 404, "ledger_not_found")


ACCEPTED = {
    "text/event-stream": True,
    "application/json, Text/Event-Stream;q=0.5": True,
    "text/event-stream; charset=utf-8 ; q=0.001": True,
    "text/event-stream;q=0": False,
    "text/event-stream ; Q = 0.000, application/json": False,
    "application/json, text/event-stream;q=0.0": False,
    "text/event-streams": False,
    "*/*": False,
}


async def test_a_stream_is_for_who_accepts_one(postgres: TestPostgres) -> None:
    async with (
        postgres.fresh_database() as database,
        serving(database, event_stream_seconds_max=0.05) as application,
        application.client(application.settings.admin_token) as http,
    ):
        path = f"{(await LedgerClient.open(http, 'streamed')).path}/events"
        given = {accept: await http.get(path, headers={"Accept": accept}) for accept in ACCEPTED}
        kinds = {accept: response.headers["content-type"] for accept, response in given.items()}
        assert {accept: kind.startswith("text/event-stream") for accept, kind in kinds.items()} == ACCEPTED


async def test_the_installations_events_are_for_admins(
    client: httpx.AsyncClient, ledger: LedgerClient, make_client: MakeClient
) -> None:
    problem(await (await make_client("read")).get("/v1/events"), 403, "forbidden")
    limited = await make_client("admin", ledgers=[ledger.name])
    for path in ("events", "integrity", "log/checkpoint", "log/entries", "log/consistency", "log/key"):
        problem(await limited.get(f"/v1/{path}"), 403, "forbidden")
    everything: list[JSON] = []
    after: dict[str, str] = {}
    while (page := answer(await client.get("/v1/events", params={"limit": 1000, **after})))["items"]:
        everything += page["items"]
        after = {"after": page["last_id"]}
    assert {one["source"] for one in everything} == {"/v1"}
    assert {"funds.ledger.created", "funds.token.created"} <= {one["type"] for one in everything}
    created = [one["data"]["name"] for one in everything if one["type"] == "funds.ledger.created"]
    assert created[-1] == ledger.name


async def test_who_waits_does_not_count_among_the_requests_under_way(postgres: TestPostgres) -> None:
    """But among the followers, of whom one client has a share."""
    async with postgres.fresh_database() as database:
        limits = {"client_requests_max": 2, "client_event_followers_max": 4, "event_followers_max": 5}
        async with (
            serving(database, **limits) as application,
            application.client(application.settings.admin_token) as http,
        ):
            ledger = await LedgerClient.open(http, "followed")
            known = (await events(ledger))["last_id"]
            waiting = []
            for number in range(4):
                waiting.append(asyncio.create_task(events(ledger, after=known, wait_seconds=LONG)))
                await wait_for_followers(application, number + 1)
            response = await http.get(f"{ledger.path}/events", params={"after": known, "wait_seconds": LONG})
            problem(response, 429, "rate_limited")
            assert (await events(ledger, after=known))["items"] == []
            await ledger.account()
            assert [len(page["items"]) for page in await asyncio.gather(*waiting)] == [1] * 4


async def test_a_stream_in_which_nothing_happens_says_so(
    postgres: TestPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "_PAUSE_SECONDS_MAX", 0.1)
    async with (
        postgres.fresh_database() as database,
        serving(database, event_stream_seconds_max=1) as application,
        application.client(application.settings.admin_token) as http,
    ):
        ledger = await LedgerClient.open(http, "followed")
        [created] = (await events(ledger))["items"]
        headers = {"Accept": "text/html, Text/Event-Stream;q=0.9"}
        response = await http.get(f"{ledger.path}/events", headers=headers)
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        beginning, event, *pauses, end = response.text.split("\n\n")
        assert beginning == "retry: 1000"
        identifier, kind, document = event.split("\n")
        assert (identifier, kind) == (f"id: {created['id']}", "event: funds.ledger.created")
        assert json.loads(document.removeprefix("data: ")) == created
        assert set(pauses) == {": nothing happened"}
        assert 3 <= len(pauses) <= 11
        assert end == ""


async def test_those_at_the_same_place_share_a_read(application: Application, ledger: LedgerClient) -> None:
    reads = application.app.state.services.pools.reads
    known = (await events(ledger))["last_id"]
    waiting = [asyncio.create_task(events(ledger, after=known, wait_seconds=LONG)) for _ in range(50)]
    await wait_for_followers(application, 50)
    with queries(reads) as sent:
        await ledger.account()
        pages = await asyncio.gather(*waiting)
    assert len({page["last_id"] for page in pages}) == 1
    assert len(sent) <= 2, "the head and the entries, once"
