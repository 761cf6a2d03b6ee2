"""Connections through PgBouncer: a pool in session mode works, and the other modes are refused with a sentence."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from service.errors import DatabaseUnusableError
from service.settings import Settings
from service.storage.database import Database
from service.storage.migrations import upgrade
from service.storage.preflight import verify_server
from tests.support.debian import PASSWORD, DebianPostgres, debian_postgres, pgbouncer
from tests.support.servers import ROLES_SQL, RunningService, free_port, random_token, run_funds

ROLES = ("funds_owner", "funds_service", "postgres")


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[DebianPostgres]:
    with debian_postgres(tls=False) as server:
        connection = await asyncpg.connect(server.url("postgres", "127.0.0.1"))
        await connection.execute(ROLES_SQL.read_text())
        for role in ROLES:
            await connection.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
        await connection.close()
        await upgrade(server.url("funds_owner", "127.0.0.1"))
        yield server


@pytest.mark.parametrize("pool_size", [1, 5])
async def test_transaction_mode_is_refused(server: DebianPostgres, pool_size: int) -> None:
    with pgbouncer(server, pool_mode="transaction", pool_size=pool_size, roles=ROLES) as url:
        for _ in range(3):
            with pytest.raises(
                DatabaseUnusableError, match=r"answers a pooler in transaction mode.*pool_mode = session"
            ):
                await verify_server(url.format(role="funds_service"))


def test_every_command_says_so_in_one_sentence(server: DebianPostgres) -> None:
    with pgbouncer(server, pool_mode="transaction", pool_size=5, roles=ROLES) as url:
        owner, service = url.format(role="funds_owner"), url.format(role="funds_service")
        for command, settings in (
            (["serve"], {"FUNDS_DATABASE_URL": service}),
            (
                ["serve"],
                {"FUNDS_DATABASE_URL": server.url("funds_service", "127.0.0.1"), "FUNDS_READ_DATABASE_URL": service},
            ),
            (["migrate"], {"FUNDS_DATABASE_URL": owner}),
            (["tokens", "list"], {"FUNDS_DATABASE_URL": owner}),
        ):
            ended = run_funds(*command, settings=settings)
            assert ended.returncode == 1
            assert ended.stderr.startswith("Error: At 127.0.0.1:")
            assert len(ended.stderr.splitlines()) == 1


async def test_transaction_mode_is_recognized_in_a_busy_pool(server: DebianPostgres) -> None:
    with pgbouncer(server, pool_mode="transaction", pool_size=4, roles=ROLES) as url:
        others = [await asyncpg.connect(url.format(role="funds_service"), statement_cache_size=0) for _ in range(8)]
        stop = asyncio.Event()

        async def keep_busy(connection: asyncpg.Connection) -> None:
            while not stop.is_set():
                await connection.execute("SELECT pg_sleep(0.002)")

        busy = asyncio.gather(*map(keep_busy, others))
        try:
            for _ in range(10):
                with pytest.raises(DatabaseUnusableError, match="answers a pooler in transaction mode"):
                    await verify_server(url.format(role="funds_service"))
        finally:
            stop.set()
            await busy
            for connection in others:
                connection.terminate()


async def test_statement_mode_is_refused(server: DebianPostgres) -> None:
    with (
        pgbouncer(server, pool_mode="statement", pool_size=2, roles=ROLES) as url,
        pytest.raises(DatabaseUnusableError, match="statement pooling mode"),
    ):
        await verify_server(url.format(role="funds_service"))


@pytest.mark.parametrize("pool_size", [1, 5])
async def test_session_mode_is_accepted(server: DebianPostgres, pool_size: int) -> None:
    with pgbouncer(server, pool_mode="session", pool_size=pool_size, roles=ROLES) as url:
        await verify_server(url.format(role="funds_service"))
        await upgrade(url.format(role="funds_owner"))


async def test_migrations_behind_transaction_mode_are_refused(server: DebianPostgres) -> None:
    """The lock of migrations belongs to a session."""
    with (
        pgbouncer(server, pool_mode="transaction", pool_size=5, roles=ROLES) as url,
        pytest.raises(DatabaseUnusableError, match="answers a pooler in transaction mode"),
    ):
        await upgrade(url.format(role="funds_owner"))


async def test_a_session_runs_under_the_settings_and_leaves_none_behind(server: DebianPostgres) -> None:
    shown = text("SELECT current_setting('statement_timeout'), current_setting('plan_cache_mode')")
    with pgbouncer(server, pool_mode="session", pool_size=1, roles=ROLES) as url:
        for connect, expected in (
            (Database.connect_batches, ("3s", "force_generic_plan")),
            (Database.connect, ("3s", "auto")),
        ):
            database = connect(url.format(role="funds_service"), Settings(statement_timeout_ms=3000))
            async with database.engine.connect() as connection:
                assert tuple((await connection.execute(shown)).one()) == expected
            await database.close()


def test_the_service_works_behind_session_mode(server: DebianPostgres, tmp_path: Path) -> None:
    with pgbouncer(server, pool_mode="session", pool_size=20, roles=ROLES) as url:
        settings = {
            "FUNDS_DATABASE_URL": url.format(role="funds_service"),
            "FUNDS_ADMIN_TOKEN": random_token(),
            "FUNDS_PORT": str(free_port()),
        }
        service = RunningService(settings, tmp_path / "log")
        try:
            service.wait_until_ready()
            with httpx.Client(base_url=f"{service.url}/v1/ledgers/main", headers=service.headers) as client:
                bank, ada = (
                    client.post("/accounts", json={"currency": "USD"}, headers={"Idempotency-Key": name}).json()["id"]
                    for name in ("bank", "ada")
                )
                transfer = {"debit_account_id": bank, "credit_account_id": ada, "amount": 5, "currency": "USD"}
                posted = client.post("/transfers", json=transfer, headers={"Idempotency-Key": "transfer"})
                assert posted.status_code == 201, posted.text
                assert client.get(f"/accounts/{ada}").json()["balance"] == 5
                assert [item["id"] for item in client.get("/transfers").json()["items"]] == [posted.json()["id"]]
        finally:
            assert service.stop() == 0
        assert "Traceback" not in service.log.read_text()
