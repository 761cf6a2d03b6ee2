"""What other clients were rejected: shown to tokens with the scope `audit`, and to no others, in no answer."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest

from service.access.tokens import issue
from service.proofs.keys import parse_verifier_key
from service.proofs.tree import leaf_hash, root_of
from service.proofs.verify import Trust, verify_checkpoint, verify_receipt
from service.storage.database import Database
from tests.api.moves import fence, funded, key_path, open_hold
from tests.api.routes import routes
from tests.api.test_events import wait_for_followers
from tests.support.application import Application
from tests.support.contract import filled
from tests.support.http_ledger import JSON, LedgerClient, answer, item, problem
from tests.support.log import latest_checkpoint, log_lines, serving_log
from tests.support.servers import TestPostgres

SECRET = "secret-of-the-other"
"""Is in everything that only the other client asked for, and was rejected."""
WITHHELD = "funds.entry.withheld"


class Scene(NamedTuple):
    """A ledger in which the client `own` and the client `other` were rejected, each as its tokens see it."""

    admin: LedgerClient
    reader: LedgerClient
    auditor: LedgerClient
    other: LedgerClient
    accounts: tuple[JSON, JSON]
    transfer: JSON
    hold: JSON


@pytest.fixture(scope="module")
async def application(postgres: TestPostgres) -> AsyncIterator[Application]:
    async with (
        postgres.fresh_database() as database,
        serving_log(database, event_stream_seconds_max=0.2) as application,
    ):
        yield application


@pytest.fixture(scope="module")
async def scene(application: Application) -> AsyncIterator[Scene]:
    database = Database.connect(application.database.operator_url, application.settings)
    clients: list[httpx.AsyncClient] = [application.client(application.settings.admin_token)]
    for name, scopes in (
        ("own", ["read", "transfers:write"]),
        ("own", ["audit", "transfers:write"]),
        ("other", ["read", "transfers:write"]),
    ):
        async with database.sessions() as session, session.begin():
            clients.append(application.client((await issue(session, client=name, scopes=scopes)).token))
    await database.close()
    admin = await LedgerClient.open(clients[0], "shared")
    reader, auditor, other = (admin.seen_by(client) for client in clients[1:])
    payer, payee = await funded(admin, 100), await admin.account()
    await reader.post(payer, payee, "own-1", amount=101, reference="own")
    await other.post(payer, payee, f"{SECRET}-1", amount=102, reference=f"{SECRET}-2")
    await other.batch(*(item(payer, payee, f"{SECRET}-{n}", amount=99) for n in (3, 4)), mode="atomic")
    await fence(other, f"{SECRET}-5")
    await fence(reader, "own-2")
    transfer, hold = await other.move(payee, payer, 5), await open_hold(other, payer, payee, 5)
    yield Scene(admin, reader, auditor, other, (payer, payee), transfer, hold)
    for client in clients:
        await client.aclose()


async def _keys(ledger: LedgerClient, **query: Any) -> list[str]:
    """The keys of the decisions that the ledger's caller is shown, a page at a time."""
    found: list[str] = []
    path: str | None = str(httpx.URL(f"{ledger.path}/decisions", params=query | {"limit": 1}))
    while path is not None:
        response = await ledger.client.get(path)
        assert response.status_code == 200, response.text
        found += [one["idempotency_key"] for one in answer(response)["items"]]
        path = response.links["next"]["url"] if "next" in response.links and answer(response)["items"] else None
    return found


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_who_may_read_sees_its_own_rejections_and_who_may_audit_everyones(scene: Scene, order: str) -> None:
    rejected = ["own-1", f"{SECRET}-1", f"{SECRET}-3", f"{SECRET}-4"]
    fenced = [f"{SECRET}-5", "own-2"]
    for query in ({}, {"account_id": scene.accounts[0]["id"]}, {"created_from": "2001-01-01T00:00:00Z"}):
        assert await _keys(scene.reader, order=order, **query) == ["own-1"]
        theirs = rejected[1:] if order == "asc" else rejected[:0:-1]
        assert await _keys(scene.other, order=order, **query) == theirs
        for ledger in (scene.auditor, scene.admin):
            assert await _keys(ledger, order=order, **query) == (rejected if order == "asc" else rejected[::-1])
    assert await _keys(scene.reader, outcome="fenced") == ["own-2"]
    assert await _keys(scene.auditor, outcome="fenced", order="asc") == fenced


async def test_what_is_left_out_is_said(scene: Scene) -> None:
    for ledger, said in ((scene.reader, "own"), (scene.auditor, None), (scene.admin, None)):
        response = await ledger.client.get(f"{ledger.path}/decisions")
        assert response.headers.get("X-Data-Of-Clients") == said


async def test_a_cursor_carries_no_right(scene: Scene) -> None:
    page = answer(await scene.auditor.client.get(f"{scene.auditor.path}/decisions?limit=1&order=asc"))
    assert page["items"][0]["client"] == "own"
    query = {"order": "asc", "cursor": page["next_cursor"]}
    rest = answer(await scene.reader.client.get(f"{scene.reader.path}/decisions", params=query))
    assert rest["items"] == []


async def _events(ledger: LedgerClient, **query: Any) -> list[JSON]:
    found: list[JSON] = []
    while items := answer(await ledger.client.get(f"{ledger.path}/events", params=query))["items"]:
        found += items
        query["after"] = items[-1]["id"]
    return found


async def test_an_event_that_is_withheld_stands_in_its_place_with_its_leaf(scene: Scene) -> None:
    """So a reader counts every entry, and computes the root that was signed from what it is shown."""
    events, whole = await _events(scene.reader), await _events(scene.auditor)
    assert [one["id"] for one in events] == [one["id"] for one in whole]
    checkpoint = await latest_checkpoint(scene.reader, size=len(whole))
    lines = await log_lines(scene.auditor)
    assert [json.loads(line) for line in lines] == whole
    leaves = []
    for shown, entry, line in zip(events, whole, lines, strict=True):
        if entry["client"] == "other" and entry["type"] in {"funds.command.rejected", "funds.key.fenced"}:
            leaf = base64.b64decode(shown["data"]["leaf_hash"], validate=True)
            assert leaf == leaf_hash(line.encode())
            kept = {name: entry[name] for name in ("id", "source", "specversion", "time")}
            absent = dict.fromkeys(("client", "idempotencykey", "requestid", "subject"))
            assert shown == kept | absent | {"type": WITHHELD, "data": {"leaf_hash": shown["data"]["leaf_hash"]}}
        else:
            assert shown == entry
            leaf = leaf_hash(line.encode())
        leaves.append(leaf)
    assert [one["type"] for one in events].count(WITHHELD) == 4
    key = parse_verifier_key((await scene.reader.client.get(f"{scene.reader.path}/log/key")).text.strip())
    proven = verify_checkpoint(checkpoint, Trust([key])).checkpoint
    assert root_of(iter(leaves)) == proven.root


async def test_a_stream_withholds_too(scene: Scene) -> None:
    for ledger, withheld in ((scene.reader, 4), (scene.auditor, 0)):
        response = await ledger.client.get(f"{ledger.path}/events", headers={"Accept": "text/event-stream"})
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.text.count(f"event: {WITHHELD}\n") == withheld
        assert (SECRET in response.text) == (withheld == 0)


async def test_those_who_wait_at_one_place_are_told_what_each_may_see(application: Application, scene: Scene) -> None:
    """Reads are shared by those of one client at one place; here both are of the client `own`."""
    ledger = await LedgerClient.open(scene.admin.client, "followed")
    payer, payee = await funded(ledger, 0), await ledger.account()
    known = (await _events(ledger))[-1]["id"]
    path = f"{ledger.path}/events"
    waiting = [
        asyncio.create_task(one.client.get(path, params={"after": known, "wait_seconds": 30}))
        for one in (scene.reader, scene.auditor) * 5
    ]
    await wait_for_followers(application, len(waiting))
    await ledger.seen_by(scene.other.client).post(payer, payee)
    types = [[one["type"] for one in answer(response)["items"]] for response in await asyncio.gather(*waiting)]
    assert types == [[WITHHELD], ["funds.command.rejected"]] * 5


async def test_the_receipt_of_a_rejection_is_for_its_client_and_auditors(scene: Scene) -> None:
    whole = await _events(scene.auditor)
    await latest_checkpoint(scene.reader, size=len(whole))
    key = parse_verifier_key((await scene.reader.client.get(f"{scene.reader.path}/log/key")).text.strip())
    for entry in whole:
        path = f"{scene.reader.path}/log/entries/{entry['id']}/receipt"
        seen = [scene.auditor, scene.admin]
        if entry["type"] not in {"funds.command.rejected", "funds.key.fenced"}:
            seen += [scene.reader, scene.other]
        else:
            [allowed, not_allowed] = [scene.reader, scene.other][:: 1 if entry["client"] == "own" else -1]
            seen.append(allowed)
            refused = problem(await not_allowed.client.get(path), 403, "forbidden")
            assert refused["required_scope"] == "audit"
        for ledger in seen:
            receipt = answer(await ledger.client.get(path))
            verify_receipt(receipt["entry"].encode(), receipt["receipt"], Trust([key]))


async def test_the_entries_of_the_log_are_for_auditors(scene: Scene) -> None:
    path = f"{scene.reader.path}/log/entries"
    assert problem(await scene.reader.client.get(path), 403, "forbidden")["required_scope"] == "audit"
    assert (await scene.auditor.client.get(path)).status_code == 200


async def test_who_may_audit_may_read_and_not_write(application: Application, scene: Scene) -> None:
    database = Database.connect(application.database.operator_url, application.settings)
    async with database.sessions() as session, session.begin():
        made = await issue(session, client="auditor", scopes=["audit"], ledgers=["shared"])
    await database.close()
    async with application.client(made.token) as client:
        auditor = scene.admin.seen_by(client)
        assert await auditor.read_account(scene.accounts[0]) == await scene.admin.read_account(scene.accounts[0])
        assert len(await _keys(auditor)) == 4
        problem(await auditor.post(*scene.accounts), 403, "forbidden")
        problem(await client.get("/v1/ledgers/main/decisions"), 404, "ledger_not_found")


async def test_no_answer_to_who_may_read_has_what_another_client_was_rejected(
    application: Application, scene: Scene
) -> None:
    """Every route that reads, with the identifiers of everything in the ledger: a new route is tried here by itself."""
    whole = await _events(scene.auditor)
    await latest_checkpoint(scene.reader, size=len(whole))
    identifiers = {entry["id"] for entry in whole} | {entry["subject"] for entry in whole if entry["subject"]}
    shown: dict[bool, set[str]] = {False: set(), True: set()}
    asked = 0
    for method, template, handler in routes(application):
        if method != "GET" or handler.opt["scope"] is None or "{idempotency_key" in template:
            continue
        period = {"from": "2001-01-01T00:00:00Z", "to": "2101-01-01T00:00:00Z"}
        queries: list[dict[str, str]] = [{}, period]
        paths = {filled(template, "shared", identifier) for identifier in identifiers}
        if len(paths) == 1:
            queries += [{"outcome": "fenced"}, {"code": "1000"}, {"account_id": scene.accounts[0]["id"]}]
        for path in sorted(paths):
            for query in queries:
                for ledger, is_auditor in ((scene.reader, False), (scene.auditor, True)):
                    response = await ledger.client.get(path, params=query)
                    asked += response.status_code == 200
                    if response.status_code < 400 and SECRET in response.text:
                        shown[is_auditor].add(template.replace("/v1/ledgers/{ledger_name}", ""))
    assert asked > 100
    assert shown[True] == {"/decisions", "/events", "/log/entries", "/log/entries/{entry_id}/receipt"}
    assert shown[False] == set()
    for number in range(1, 6):
        response = await scene.reader.client.get(key_path(scene.reader, f"{SECRET}-{number}"))
        assert answer(response)["outcome"] == "never_seen", "keys are each client's own"
