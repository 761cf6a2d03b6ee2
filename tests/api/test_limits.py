"""Limits of one client's requests, at a time and in a second; they do not affect other clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from service.access.tokens import issue
from service.settings import Settings
from service.storage.database import Database
from tests.api.conftest import MakeClient
from tests.support.application import Application, serving
from tests.support.database_faults import locked, wait_until_blocked
from tests.support.http_ledger import answer, problem, unique
from tests.support.servers import TestDatabase


async def _token(database: TestDatabase, client: str) -> str:
    owner = Database.connect(database.operator_url, Settings())
    async with owner.sessions() as session, session.begin():
        made = await issue(session, client=client, scopes=["admin"])
    await owner.close()
    return made.token


@asynccontextmanager
async def _limited(
    database: TestDatabase, **settings: Any
) -> AsyncIterator[tuple[Application, list[httpx.AsyncClient]]]:
    async with serving(database, **settings) as application:
        clients = [application.client(await _token(database, name)) for name in ("greedy", "modest")]
        yield application, clients
        for client in clients:
            await client.aclose()


async def test_a_rate_is_told_on_every_answer_and_held(test_database: TestDatabase) -> None:
    async with _limited(test_database, client_requests_per_second=5) as (_, (greedy, modest)):
        answers = [await greedy.get(path) for path in ("/v1/ledgers", "/v1/ledgers/main/accounts", "/v1/nothing")]
        assert [one.headers.get("RateLimit-Policy") for one in answers[:2]] == ['"client";q=5;w=1'] * 2
        refused = [one for _ in range(8) if (one := await greedy.get("/v1/ledgers")).status_code == 429]
        assert refused
        for one in refused:
            assert answer(one)["outcome"] == "not_applied"
            problem(one, 429, "rate_limited")
            assert (one.headers["Retry-After"], one.headers["RateLimit"]) == ("1", '"client";r=0;t=1')
            assert one.headers["RateLimit-Policy"] == '"client";q=5;w=1'
        hot = await greedy.get(f"/v1/ledgers/main/accounts/{'0' * 8}-0000-7000-8000-{'0' * 12}")
        assert "RateLimit" in hot.headers
        assert (await modest.get("/v1/ledgers")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/ledgers/main/accounts", f"/v1/ledgers/main/accounts/{'0' * 8}-0000-7000-8000-{'0' * 12}"]
)
async def test_requests_under_way_are_bounded(test_database: TestDatabase, path: str) -> None:
    """The limit holds for direct routes and for others, and an answered request counts no more."""
    async with _limited(test_database, client_requests_max=3) as (_, (greedy, modest)):
        assert (await greedy.get("/v1/ledgers/main")).status_code == 200  # the token is known, the ledger too
        assert (await modest.get("/v1/ledgers/main")).status_code == 200
        async with locked(test_database, "accounts") as holder:
            under_way = [asyncio.create_task(greedy.get(path)) for _ in range(3)]
            await wait_until_blocked(holder)
            problem(await greedy.get("/v1/ledgers"), 429, "rate_limited")
            assert (await modest.get("/v1/ledgers")).status_code == 200
        assert {one.status_code for one in await asyncio.gather(*under_way)} <= {200, 404}
        assert (await greedy.get("/v1/ledgers")).status_code == 200


async def test_a_body_that_is_arriving_does_not_count(test_database: TestDatabase) -> None:
    """A client that sends slowly takes nothing from its own other requests; the server ends it in time."""
    hot, cold = "/v1/ledgers/main/transfers", "/v1/ledgers/main/accounts"
    arriving = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await arriving.wait()
        yield b"}"

    async with _limited(test_database, client_requests_max=1) as (_, (greedy, _modest)):
        headers = {"Content-Type": "application/json", "Content-Length": "2", "Idempotency-Key": "k"}
        async with asyncio.TaskGroup() as group:
            slow = [group.create_task(greedy.post(path, content=slowly(), headers=headers)) for path in (hot, cold)]
            for _ in range(20):
                assert (await greedy.get("/v1/ledgers")).status_code == 200
            arriving.set()
        assert {one.result().status_code for one in slow} <= {400, 429}


async def test_a_request_that_fails_gives_its_place_back(application: Application, make_client: MakeClient) -> None:
    name = unique("client")
    client = await make_client("read", name=name)
    usage = application.app.state.services.authenticator._limits.of(name)
    for path in ("/v1/ledgers/nowhere/accounts", "/v1/ledgers?limit=0", "/v1/ledgers/main/transfers?cursor=x"):
        assert (await client.get(path)).status_code >= 400
    assert (await client.post("/v1/ledgers", json={})).status_code == 403
    assert usage.requests == 0
