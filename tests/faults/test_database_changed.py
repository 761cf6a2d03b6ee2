"""An operator changes the database of a running service: what passes is waited for, what does not is logged once."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import asyncpg
import pytest

from tests.support.bank import Bank, open_bank
from tests.support.journal import Journal
from tests.support.servers import RunningService, TestDatabase, TestPostgres
from tests.support.service_process import launch
from tests.support.socket_client import Answer, Client

Serve = Callable[..., RunningService]

REQUESTS = 12


@dataclass(frozen=True)
class Scene:
    """A running service, its database, and where its log was when the test began."""

    service: RunningService
    database: TestDatabase
    log_begin: int

    @classmethod
    def of(cls, service: RunningService, database: TestDatabase) -> Self:
        return cls(service, database, service.log.stat().st_size)

    def logged(self) -> str:
        """Return what the service has logged during the test."""
        return self.service.log.read_bytes()[self.log_begin :].decode()


@pytest.fixture(scope="module")
async def shared(
    postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[RunningService, TestDatabase]]:
    """A service and its database for all tests that leave the database as it was."""
    async with postgres.fresh_database() as database:
        service = launch(database.service_url, tmp_path_factory.mktemp("changed") / "serve.log")
        try:
            await asyncio.to_thread(service.wait_until_ready)
            yield service, database
        finally:
            await asyncio.to_thread(service.stop)


@pytest.fixture
def scene(shared: tuple[RunningService, TestDatabase]) -> Scene:
    return Scene.of(*shared)


@pytest.fixture
def broken(serve: Serve, test_database: TestDatabase) -> Scene:
    """A service and a database of the test's own."""
    return Scene.of(serve(), test_database)


@asynccontextmanager
async def _superuser(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        yield connection
    finally:
        await connection.close()


async def _cut_connections(superuser: asyncpg.Connection) -> None:
    await superuser.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def _ask(client: Client, bank: Bank, key: str) -> list[Answer]:
    """Send one request of each kind."""
    ledger, (a, b, *_) = f"/v1/ledgers/{bank.ledger}", bank.customers
    body = {"debit_account_id": a, "credit_account_id": b, "amount": 1, "currency": "USD"}
    return [
        await client.call("POST", f"{ledger}/transfers", body, key=key),
        await client.call("GET", f"{ledger}/accounts/{a}"),
        await client.call("GET", f"{ledger}/accounts"),
        await client.call("GET", f"{ledger}/transfers"),
        await client.call("POST", f"{ledger}/transfers?dry_run=true", body),
        await client.call("POST", f"{ledger}/accounts", {"currency": "USD"}, key=f"{key}-account"),
    ]


def _reasons(scene: Scene, sqlstate: str) -> list[str]:
    """The reasons of the storage's lines in the log that name ``sqlstate``."""
    lines = [json.loads(line) for line in scene.logged().splitlines() if line.startswith("{")]
    told = [line["reason"] for line in lines if line["logger"] == "service.storage.retries"]
    return [reason for reason in told if sqlstate in reason]


CHANGES = {
    "accounts": ("name", "varchar(300)", "text"),
    "transfers": ("description", "varchar(3000)", "text"),
    "decisions": ("operation", "varchar(300)", "text"),
}


@pytest.mark.parametrize("table", CHANGES)
async def test_a_column_whose_type_changes_is_not_noticed(scene: Scene, journal: Journal, table: str) -> None:
    """Plans that the server has kept for it end with 0A000, also in a batch's transaction: all is run again."""
    service = scene.service
    column, narrow, wide = CHANGES[table]
    async with Client(service.url, service.admin_token) as client, _superuser(scene.database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        await superuser.execute("DROP SCHEMA IF EXISTS funds_audit CASCADE")  # a migration that changes types does, too
        for number, new_type in enumerate((wide, narrow, wide)):
            for again in range(6):  # the server keeps a plan from the fifth use on
                told = await _ask(client, bank, f"{number}-{again}")
                assert [answer.status for answer in told] == [201, 200, 200, 200, 200, 201]
            await superuser.execute(f"ALTER TABLE funds.{table} ALTER COLUMN {column} TYPE {new_type}")
    assert "Traceback" not in scene.logged()


async def test_a_privilege_that_is_revoked_and_given_back(scene: Scene, journal: Journal) -> None:
    service = scene.service
    async with Client(service.url, service.admin_token) as client, _superuser(scene.database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        await superuser.execute("REVOKE SELECT ON funds.accounts, funds.transfers, funds.decisions FROM funds_service")
        for number in range(REQUESTS // 6):
            _assert_unavailable(await _ask(client, bank, f"revoked-{number}"))
        await superuser.execute("GRANT SELECT ON funds.accounts, funds.transfers, funds.decisions TO funds_service")
        assert {answer.status for answer in await _ask(client, bank, "granted")} == {200, 201}
    reasons = _reasons(scene, "42501")
    assert reasons, scene.logged()
    assert len(reasons) == len(set(reasons)), "each cause is told once"
    assert all("permission denied" in reason for reason in reasons)
    assert "Traceback" not in scene.logged()


async def test_a_role_that_may_not_log_in_any_more(scene: Scene, journal: Journal) -> None:
    service = scene.service
    async with Client(service.url, service.admin_token) as client, _superuser(scene.database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        await superuser.execute("ALTER ROLE funds_service NOLOGIN")
        try:
            await _cut_connections(superuser)
            for number in range(REQUESTS // 6):
                _assert_unavailable(await _ask(client, bank, f"locked-{number}"))
            assert (await client.call("GET", "/health/ready")).status == 503
        finally:
            await superuser.execute("ALTER ROLE funds_service LOGIN")
        assert {answer.status for answer in await _ask(client, bank, "unlocked")} == {200, 201}
        assert (await client.call("GET", "/health/ready")).status == 200
    assert len(_reasons(scene, "28000")) == 1, scene.logged()
    assert "Traceback" not in scene.logged()


async def test_a_database_that_takes_no_connections(scene: Scene, journal: Journal) -> None:
    """A refused connection is a failure that may pass, whatever its SQLSTATE (here that of a wrong state)."""
    service = scene.service
    async with Client(service.url, service.admin_token) as client, _superuser(scene.database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        allow = "UPDATE pg_database SET datallowconn = {} WHERE datname = current_database()"
        await superuser.execute(allow.format("false"))
        await _cut_connections(superuser)
        _assert_unavailable(await _ask(client, bank, "closed"))
        await superuser.execute(allow.format("true"))
        assert {answer.status for answer in await _ask(client, bank, "open")} == {200, 201}
    assert len(_reasons(scene, "55000")) == 1, scene.logged()
    assert "Traceback" not in scene.logged()


async def test_a_role_that_may_not_write_for_a_time(scene: Scene, journal: Journal) -> None:
    """Sessions that began meanwhile stay read only; they are replaced, by the probe's and by the callers' work."""
    service = scene.service
    async with Client(service.url, service.admin_token) as client, _superuser(scene.database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        name = await superuser.fetchval("SELECT current_database()")
        role = f"ALTER ROLE funds_service IN DATABASE {name}"
        await superuser.execute(f"{role} SET default_transaction_read_only = on")
        await _cut_connections(superuser)
        for number in range(REQUESTS // 6):
            told = await _ask(client, bank, f"read-only-{number}")
            _assert_unavailable([told[0], told[5]])
            assert [answer.status for answer in told[1:5]] == [200] * 4
        probe = await client.call("GET", "/health/ready")
        assert (probe.status, probe.content["checks"]["database"]["reason"]) == (503, "takes no writes")

        await superuser.execute(f"{role} RESET default_transaction_read_only")
        assert {answer.status for answer in await _ask(client, bank, "writable")} == {200, 201}
        assert (await client.call("GET", "/health/ready")).status == 200
    assert "Traceback" not in scene.logged()


async def test_a_schema_that_is_not_ours_is_a_fault_of_ours_and_told_once(broken: Scene, journal: Journal) -> None:
    """No waiting heals it: 500, at once, and one line with a traceback for each cause."""
    service = broken.service
    async with Client(service.url, service.admin_token) as client, _superuser(broken.database) as superuser:
        bank = await open_bank(client, journal, customers=2)
        await superuser.execute("ALTER TABLE funds.accounts RENAME COLUMN version TO versions")
        for number in range(REQUESTS):
            told = await _ask(client, bank, f"renamed-{number}")
            assert {answer.content["code"] for answer in told[:3]} == {"internal_error"}
            assert {answer.content["outcome"] for answer in told[:3]} == {"not_applied"}
    lines = broken.logged().count("Traceback (most recent call last)")
    assert 0 < lines <= 12, "a cause has one line, however many requests meet it"


def _assert_unavailable(told: list[Answer]) -> None:
    for answer in told:
        assert (answer.status, answer.content["code"]) == (503, "database_unavailable"), answer.content
        assert answer.content["outcome"] == "not_applied"
