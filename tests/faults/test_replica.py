"""Reads from a real streaming replica that lags, stops or falls silent; nothing that decides waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest

from service.access.tokens import issue
from service.embedded.postgres import EmbeddedPostgres
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories.tokens import TokenRepository
from tests.faults.standby import Standby
from tests.support.application import Application, serving
from tests.support.database_faults import execute
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem, transfer, unique
from tests.support.other_session import wait_until
from tests.support.pace import Pace
from tests.support.servers import TestDatabase, free_port, run_funds

AS_OF = "X-Data-As-Of"
AT_ONCE_SECONDS = 1.0


@dataclass(frozen=True)
class Scene:
    """A service that reads from ``standby``, and a ledger with two accounts."""

    application: Application
    pace: Pace
    database: TestDatabase
    standby: Standby
    ledger: LedgerClient
    debit: JSON
    credit: JSON

    async def read(self, query: str = "") -> httpx.Response:
        """Read the debit account."""
        response = await self.ledger.client.get(f"{self.ledger.accounts}/{self.debit['id']}{query}")
        assert response.status_code == 200, response.text
        return response

    async def at_once(self, request: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        started = time.monotonic()
        response = await request
        assert time.monotonic() - started < self.pace.seconds(AT_ONCE_SECONDS)
        return response

    async def ready(self) -> JSON:
        response = await self.ledger.client.get("/health/ready")
        assert response.status_code == 200, response.text
        return answer(response)

    async def wait_for_replica(self) -> None:
        """Wait until reads are answered by the replica, which has all that was written before."""
        wanted = (await self.ledger.move(self.debit, self.credit))["debit_account_version"]

        async def caught_up() -> bool:
            response = await self.read()
            return AS_OF in response.headers and answer(response)["version"] >= wanted

        await wait_until(caught_up)

    @asynccontextmanager
    async def lag(self) -> AsyncIterator[None]:
        """Within, the replica replays nothing."""
        connection = await asyncpg.connect(self.standby.url("postgres"))
        try:
            await connection.execute("SELECT pg_wal_replay_pause()")
            yield
        finally:
            await connection.execute("SELECT pg_wal_replay_resume()")
            await connection.close()


@pytest.fixture
async def scene(primary: EmbeddedPostgres, standby: Standby, pace: Pace) -> AsyncIterator[Scene]:
    database = TestDatabase(
        service_url=primary.service_url,
        owner_url=primary.owner_url,
        operator_url=primary.url("funds_operator"),
        auditor_url=primary.url("funds_auditor"),
        reader_url=primary.url("funds_reader"),
        superuser_url=primary.superuser_url,
    )
    async with (
        serving(database, read_database_url=standby.url("funds_service"), **pace.settings) as application,
        application.client(application.settings.admin_token) as client,
    ):
        ledger = await LedgerClient.open(client, unique("ledger"))
        scene = Scene(application, pace, database, standby, ledger, await ledger.account(), await ledger.account())
        await scene.wait_for_replica()
        yield scene


def _as_of(response: httpx.Response) -> datetime:
    return datetime.fromisoformat(response.headers[AS_OF])


async def test_a_replica_answers_and_says_how_old_it_is(scene: Scene) -> None:
    """Lists, single rows, expanded ones and overviews; never claiming more than it holds."""
    moved = await scene.ledger.move(scene.debit, scene.credit)
    written = datetime.fromisoformat(moved["created_at"])

    async def claims_it() -> bool:
        response = await scene.read()
        assert answer(response)["version"] >= moved["debit_account_version"] or _as_of(response) <= written
        return _as_of(response) > written

    await wait_until(claims_it)
    client, ledger = scene.ledger.client, scene.ledger
    for path in (
        ledger.accounts,
        ledger.transfers,
        f"{ledger.path}/holds",
        f"{ledger.path}/overview",
        f"{ledger.accounts}/{scene.debit['id']}?expand=transfers",
        f"{ledger.transfers}/{moved['id']}",
        f"{ledger.transfers}/{moved['id']}?expand=accounts",
    ):
        response = await client.get(path)
        assert response.status_code == 200, response.text
        assert _as_of(response) > written, path
    assert (await scene.ready())["checks"]["replica"]["ready"] is True


async def test_what_decides_is_never_read_from_a_replica(scene: Scene) -> None:
    assert AS_OF not in (await scene.ledger.client.get(f"{scene.ledger.path}/idempotency-keys/none")).headers
    assert AS_OF not in (await scene.ledger.client.get(scene.ledger.path)).headers


async def test_a_replica_that_lags(scene: Scene) -> None:
    """The replica is read, and the answer says so. A caller that has written reads its own change."""
    ledger, client = scene.ledger, scene.ledger.client
    async with scene.lag():
        before = answer(await scene.read())["version"]
        moved = await ledger.move(scene.debit, scene.credit)
        old = await scene.read()
        assert answer(old)["version"] == before
        assert _as_of(old) < datetime.fromisoformat(moved["created_at"])

        version = moved["debit_account_version"]
        for query in (f"?min_version={version}", f"?min_version={version}&expand=transfers"):
            new = await scene.read(query)
            assert answer(new)["version"] == version
            assert AS_OF not in new.headers
        assert AS_OF in (await scene.read(f"?min_version={before}")).headers
        unreached = await client.get(f"{ledger.accounts}/{scene.debit['id']}?min_version={version + 1}")
        assert problem(unreached, 409, "version_not_reached")["version"] == version

        opened = await ledger.account()
        hold = await client.post(f"{ledger.path}/holds", json=transfer(scene.debit, scene.credit), headers=keyed())
        for path in (
            f"{ledger.transfers}/{moved['id']}",
            f"{ledger.transfers}/{moved['id']}?expand=accounts",
            f"{ledger.accounts}/{opened['id']}",
            f"{ledger.accounts}/{opened['id']}?expand=holds",
            f"{ledger.path}/holds/{answer(hold)['id']}",
        ):
            found = await client.get(path)
            assert (found.status_code, AS_OF in found.headers) == (200, False), path
        revised = await ledger.revise(scene.credit, name="while it lags")
        assert answer(revised)["name"] == "while it lags"
        other = LedgerClient(client, unique("ledger"))
        assert (await client.post("/v1/ledgers", json={"name": other.name}, headers=keyed())).status_code == 201
        await other.account()


async def test_a_statement_of_a_replica_is_whole_and_says_as_of_when(scene: Scene) -> None:
    """Pages and files; while the replica lags, without what it has not replayed. What is asked of a time that it has
    not reached, and the next page of what the primary began, the primary answers.
    """
    ledger, client = scene.ledger, scene.ledger.client
    path = f"{ledger.accounts}/{scene.debit['id']}/statement?from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"

    async def read(query: str = "") -> httpx.Response:
        response = await client.get(path + query)
        assert response.status_code == 200, response.text
        return response

    await ledger.move(scene.debit, scene.credit)
    await scene.wait_for_replica()
    async with scene.lag():
        before = [one["transfer_id"] for one in answer(await read())["items"]]
        moved = await ledger.move(scene.debit, scene.credit)
        page, file = await read(), await read("&format=csv")
        for old in (page, file):
            assert _as_of(old) < datetime.fromisoformat(moved["created_at"])
        assert [one["transfer_id"] for one in answer(page)["items"]] == before
        assert answer(page)["closing_balance"] == answer(page)["items"][-1]["balance"]
        assert all(one in file.text for one in before)
        assert moved["id"] not in file.text

        new = await read(f"&limit={len(before)}&known_at={quote(moved['created_at'])}")
        assert AS_OF not in new.headers
        rest = await read(
            f"&limit={len(before)}&known_at={quote(moved['created_at'])}&cursor={answer(new)['next_cursor']}"
        )
        assert AS_OF not in rest.headers
        assert [one["transfer_id"] for one in answer(rest)["items"]] == [moved["id"]]


async def test_an_export_reads_the_replica(scene: Scene) -> None:
    """It has what the replica has, and says as of when: on one that lags, no later than its last transfer."""
    settings = {
        "FUNDS_DATABASE_URL": scene.database.auditor_url,
        "FUNDS_READ_DATABASE_URL": scene.standby.url("funds_auditor"),
    }

    async def export(**more: str) -> CompletedProcess[str]:
        arguments = ("export", "--format", "hledger", "--ledger", scene.ledger.name)
        return await asyncio.to_thread(run_funds, *arguments, settings=settings | more)

    kept = await scene.ledger.move(scene.debit, scene.credit)
    await scene.wait_for_replica()
    async with scene.lag():
        latest = answer(await scene.ledger.client.get(f"{scene.ledger.transfers}?limit=1"))["items"][0]
        moved = await scene.ledger.move(scene.debit, scene.credit)
        done = await export()
    assert done.returncode == 0, done.stderr
    assert kept["id"] in done.stdout
    assert moved["id"] not in done.stdout
    assert f"as recorded by {latest['created_at']}" in done.stdout

    away = await export(FUNDS_READ_DATABASE_URL=f"postgresql://funds_auditor@127.0.0.1:{free_port()}/funds")
    assert (away.returncode, away.stdout) == (1, "")
    assert "cannot be reached" in away.stderr


async def test_verification_reads_the_replica_when_told(scene: Scene) -> None:
    """What is damaged now is damaged there when it has been replayed."""
    here, there = scene.database.auditor_url, scene.standby.url("funds_auditor")

    async def verify(*arguments: str, replica: str = there) -> int:
        settings = {"FUNDS_DATABASE_URL": here, "FUNDS_READ_DATABASE_URL": replica}
        arguments = ("verify", "--ledger", scene.ledger.name, *arguments)
        return (await asyncio.to_thread(run_funds, *arguments, settings=settings)).returncode

    change = "UPDATE funds.transfers SET credit_balance_after = credit_balance_after {} WHERE id = '{}'"
    moved = await scene.ledger.move(scene.debit, scene.credit)
    await scene.wait_for_replica()
    async with scene.lag():
        await execute(scene.database, change.format("+ 1", moved["id"]))
        assert (await verify(), await verify("--replica")) == (1, 0)
    await scene.wait_for_replica()
    assert await verify("--replica") == 1
    await execute(scene.database, change.format("- 1", moved["id"]))
    await scene.wait_for_replica()
    assert await verify("--replica") == 0
    away = f"postgresql://funds_auditor@127.0.0.1:{free_port()}/funds"
    assert (await verify("--replica", replica=away), await verify(replica=away)) == (3, 0)


async def test_a_revoked_token_ends_whatever_the_lag(scene: Scene) -> None:
    operator = Database.connect(scene.database.operator_url, Settings())
    name = unique("client")
    async with operator.sessions() as session, session.begin():
        made = await issue(session, client=name, scopes=["admin"])
    async with scene.application.client(made.token) as client:
        await scene.wait_for_replica()
        async with scene.lag():
            assert (await client.get("/v1/ledgers")).status_code == 200
            async with operator.sessions() as session, session.begin():
                [token] = [one for one in await TokenRepository(session).all() if one.client == name]
                await TokenRepository(session).revoke(token.id, datetime.now(UTC))
            await asyncio.sleep(1.0)  # for so long it may still be trusted
            own = scene.ledger.seen_by(client)
            problem(await own.post(scene.debit, scene.credit), 401, "unauthenticated")
            problem(await client.get("/v1/ledgers"), 401, "unauthenticated")
    await operator.close()


async def test_a_replica_that_is_stopped_and_comes_back(scene: Scene) -> None:
    await asyncio.to_thread(scene.standby.stop)
    try:
        await _without_replica(scene)
    finally:
        await asyncio.to_thread(scene.standby.start)
    await scene.wait_for_replica()
    assert (await scene.ready())["status"] == "ready"


async def test_a_replica_that_falls_silent_and_speaks_again(scene: Scene) -> None:
    scene.standby.freeze()
    try:
        await _without_replica(scene)
    finally:
        scene.standby.thaw()
    await scene.wait_for_replica()
    assert (await scene.ready())["status"] == "ready"


async def _without_replica(scene: Scene) -> None:
    """The primary answers instead: soon for those who find out, at once for everybody after them."""
    started = time.monotonic()
    client, path = scene.ledger.client, scene.ledger.transfers
    first = await asyncio.gather(*(scene.read() for _ in range(20)), *(client.get(path) for _ in range(20)))
    assert time.monotonic() - started < scene.pace.seconds(4)
    assert {response.status_code for response in first} == {200}
    for _ in range(3):
        assert AS_OF not in (await scene.at_once(scene.read())).headers
        assert (await scene.at_once(scene.ledger.client.get(scene.ledger.transfers))).status_code == 200
        assert (await scene.at_once(scene.ledger.post(scene.debit, scene.credit))).status_code == 201
    ready = await scene.ready()
    assert ready["status"] == "degraded"
    assert not ready["checks"]["replica"]["ready"]
    told = str(ready)
    assert ready["checks"]["replica"]["reason"]
    for secret in ("127.0.0.1", "funds_service", "postgres", "Error", "SQLSTATE"):
        assert secret not in told
    assert [name for name, check in ready["checks"].items() if not check["ready"]] == ["replica"]


async def test_a_replica_whose_schema_is_behind_is_not_read(
    test_database: TestDatabase, postgres: Any, pace: Pace
) -> None:
    async with postgres.fresh_database() as behind:
        await execute(behind, "UPDATE funds.alembic_version SET version_num = '0001'")
        async with (
            serving(test_database, read_database_url=behind.service_url, **pace.settings) as application,
            application.client(application.settings.admin_token) as client,
        ):
            ledger = await LedgerClient.open(client, unique("ledger"))
            account = await ledger.account()
            assert await ledger.read_account(account) == account
            ready = answer(await client.get("/health/ready"))
            assert ready["checks"]["replica"]["reason"] == "its schema is behind"
