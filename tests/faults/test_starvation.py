"""Much expensive work, or expensive work that is stuck, takes nothing that other work needs."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from service.access.tokens import issue
from service.settings import Settings
from service.storage.database import Database
from tests.support.application import Application, serving
from tests.support.database_faults import locked, wait_until_blocked
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem, transfer, unique
from tests.support.pace import Pace
from tests.support.servers import TestDatabase, random_token

AT_ONCE_SECONDS = 1.0
"""With nothing in the way each of these takes some milliseconds."""


@dataclass(frozen=True)
class Scene:
    application: Application
    pace: Pace
    database: TestDatabase
    ledger: LedgerClient
    debit: JSON
    credit: JSON

    async def client(self, *scopes: str, name: str = "") -> httpx.AsyncClient:
        """A client with a token that the service has not seen yet."""
        owner = Database.connect(self.database.operator_url, Settings())
        async with owner.sessions() as session, session.begin():
            made = await issue(session, client=name or unique("client"), scopes=scopes or ["admin"])
        await owner.close()
        return self.application.client(made.token)

    async def at_once(self, request: Coroutine[Any, Any, httpx.Response], status: int) -> httpx.Response:
        started = time.monotonic()
        response = await request
        assert time.monotonic() - started < self.pace.seconds(AT_ONCE_SECONDS)
        assert response.status_code == status, response.text
        return response


@pytest.fixture
async def scene(test_database: TestDatabase, pace: Pace) -> AsyncIterator[Scene]:
    async with (
        serving(test_database, **pace.settings) as application,
        application.client(application.settings.admin_token) as client,
    ):
        ledger = await LedgerClient.open(client, unique("ledger"))
        debit, credit = await ledger.account(reference="debit"), await ledger.account()
        await ledger.move(debit, credit)
        yield Scene(application, pace, test_database, ledger, debit, credit)


async def test_stuck_filters_leave_everything_else_alone(scene: Scene) -> None:
    """Sixty clients filter by an account's reference while the table of transfers is locked."""
    path = f"{scene.ledger.transfers}?debit_account_reference=debit"
    clients = [await scene.client("read") for _ in range(60)]
    newcomer = await scene.client()
    async with locked(scene.database, "transfers") as holder:
        stuck = [asyncio.create_task(client.get(path)) for client in clients]
        await wait_until_blocked(holder)
        await asyncio.sleep(0.1)  # all of them have come in
        own = LedgerClient(newcomer, scene.ledger.name)
        await scene.at_once(newcomer.get("/health/ready"), 200)
        await scene.at_once(newcomer.get(scene.ledger.path), 200)
        await scene.at_once(newcomer.get(f"{own.accounts}/{scene.debit['id']}"), 200)
        await scene.at_once(newcomer.post(own.accounts, json={"currency": "USD"}, headers=keyed()), 201)
        await scene.at_once(own.revise(scene.credit, name="new"), 200)
        await scene.at_once(newcomer.get(f"{own.path}/idempotency-keys/none"), 200)
        await scene.at_once(own.client.get("/v1/ledgers", headers={"Authorization": f"Bearer {random_token()}"}), 401)
        answers = await asyncio.gather(*stuck)
    codes = {answer(one)["code"] for one in answers}
    assert codes <= {"overloaded", "contention", "database_unavailable"}
    assert "overloaded" in codes
    for one in answers:
        assert (one.status_code, answer(one)["outcome"], one.headers["Retry-After"]) == (503, "not_applied", "1")
    assert {(await client.get(path)).status_code for client in clients} == {200}
    for client in (*clients, newcomer):
        await client.aclose()


async def test_many_dry_runs_leave_transfers_fast(scene: Scene) -> None:
    dry_runner = await scene.client()
    body = transfer(scene.debit, scene.credit)
    path = f"{scene.ledger.transfers}?dry_run=true"
    await dry_runner.post(path, json=body)
    dry_runs = [asyncio.create_task(dry_runner.post(path, json=body)) for _ in range(600)]
    await asyncio.sleep(0)
    seconds = []
    for _ in range(5):
        started = time.monotonic()
        await scene.ledger.move(scene.debit, scene.credit)
        seconds.append(time.monotonic() - started)
    statuses = {one.status_code for one in await asyncio.gather(*dry_runs)}
    assert statuses <= {200, 429}
    assert 200 in statuses
    engine = scene.application.app.state.services.pools.batches.engine.pool
    assert engine.checkedout() == 0
    assert sorted(seconds)[2] < scene.pace.seconds(AT_ONCE_SECONDS)


async def test_stuck_dry_runs_take_no_connection_of_the_committer(scene: Scene) -> None:
    """They wait for a lock that transfers do not need: that on earlier reversals."""
    dry_runner = await scene.client()
    moved = await scene.ledger.move(scene.debit, scene.credit)
    path = f"{scene.ledger.transfers}/{moved['id']}/reversals?dry_run=true"
    async with locked(scene.database, "reversed_transfers") as holder:
        dry_runs = [asyncio.create_task(dry_runner.post(path, json={})) for _ in range(100)]
        await wait_until_blocked(holder)
        for _ in range(3):
            await scene.at_once(scene.ledger.post(scene.debit, scene.credit), 201)
        answers = await asyncio.gather(*dry_runs)
    assert {one.status_code for one in answers} <= {429, 503}
    assert {answer(one)["outcome"] for one in answers} == {"not_applied"}


async def test_one_greedy_client_leaves_lists_to_others(scene: Scene) -> None:
    greedy, modest = await scene.client("read", name="greedy"), await scene.client("read")
    async with locked(scene.database, "transfers") as holder:
        stuck = [asyncio.create_task(greedy.get(scene.ledger.transfers)) for _ in range(200)]
        await wait_until_blocked(holder)
        await asyncio.sleep(0.1)
        for _ in range(5):
            await scene.at_once(modest.get(scene.ledger.accounts), 200)
            await scene.at_once(modest.get(f"{scene.ledger.path}/holds"), 200)
        answers = await asyncio.gather(*stuck)
    shares = [one for one in answers if one.status_code == 429]
    assert shares
    for one in shares:
        problem(one, 429, "rate_limited")
        assert one.headers["Retry-After"] == "1"


async def test_wrong_tokens_leave_right_ones_fast(scene: Scene) -> None:
    """A thousand look-ups of unknown tokens and two of known ones share some queries."""
    newcomer = await scene.client("read")
    async with scene.application.client(None) as without_token:
        wrong = [
            asyncio.create_task(
                without_token.get(scene.ledger.path, headers={"Authorization": f"Bearer {random_token()}"})
            )
            for _ in range(1_000)
        ]
        await asyncio.sleep(0)
        right = await newcomer.get(scene.ledger.path)
        assert right.status_code == 200
        assert {one.status_code for one in await asyncio.gather(*wrong)} == {401}
    assert scene.application.app.state.services.pools.access.engine.pool.size() <= 5
    await newcomer.aclose()
