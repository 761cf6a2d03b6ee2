"""Every kind of failure of a real PostgreSQL. Each function ends with the error that it provokes."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, NoReturn
from uuid import UUID

import asyncpg
import pytest
from msgspec import structs
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.settings import Settings
from service.storage.database import Database
from tests.support.commit_proxy import Fault, commit_proxy
from tests.support.other_session import wait_until
from tests.support.rows import add_account, add_accounts
from tests.support.servers import free_port

Send = Callable[[AsyncSession, str], Coroutine[None, None, None]]


async def by_sqlalchemy(session: AsyncSession, statement: str) -> None:
    await session.execute(text(statement))


async def by_driver(session: AsyncSession, statement: str) -> None:
    pooled = await (await session.connection()).get_raw_connection()
    driver = pooled.driver_connection
    assert isinstance(driver, asyncpg.Connection)
    await driver.execute(statement)


@dataclass(frozen=True)
class Stage:
    """A database in which failures are provoked; ``way`` sends statements through SQLAlchemy or the driver."""

    settings: Settings
    superuser: asyncpg.Connection
    way: Send
    monkeypatch: pytest.MonkeyPatch
    databases: list[Database] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    """What the statements themselves raised: a rollback that fails as well would stand before it later."""

    async def send(self, session: AsyncSession, statement: str) -> None:
        try:
            await self.way(session, statement)
        except BaseException as error:
            self.errors.append(error)
            raise

    @property
    def url(self) -> str:
        assert self.settings.database_url is not None
        return self.settings.database_url

    def connect(self, url: str | None = None, **changes: Any) -> Database:
        self.databases.append(Database.connect(url or self.url, structs.replace(self.settings, **changes)))
        return self.databases[-1]


async def process_id(session: AsyncSession) -> int:
    return int((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def _until_gone(superuser: asyncpg.Connection, pid: int) -> None:
    async def gone() -> bool:
        return not await superuser.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid)

    await wait_until(gone)


async def _until_asleep(superuser: asyncpg.Connection, pid: int) -> None:
    async def asleep() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'"
        return bool(await superuser.fetchval(query, pid))

    await wait_until(asleep)


def _touch(account_id: UUID) -> str:
    return f"UPDATE funds.accounts SET name = 'x' WHERE id = '{account_id}'"


async def a_row_changed_since_the_snapshot(stage: Stage) -> None:
    account_id = await add_account(stage.superuser)
    async with stage.connect().sessions() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        await session.execute(text("SELECT 1"))
        await stage.superuser.execute(_touch(account_id))
        await stage.send(session, _touch(account_id))


async def a_deadlock(stage: Stage) -> None:
    a, b = await add_accounts(stage.superuser, 2)
    name = await stage.superuser.fetchval("SELECT current_database()")
    await stage.superuser.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
    database = stage.connect()
    async with database.sessions() as one, database.sessions() as other:
        assert await process_id(one) != await process_id(other)
        await stage.send(one, _touch(a))
        await stage.send(other, _touch(b))
        errors = await asyncio.gather(stage.send(one, _touch(b)), stage.send(other, _touch(a)), return_exceptions=True)
    [victim] = [error for error in errors if isinstance(error, BaseException)]
    raise victim


async def a_lock_not_granted_in_time(stage: Stage) -> None:
    account_id = await add_account(stage.superuser)
    async with stage.superuser.transaction(), stage.connect(lock_timeout_ms=20).sessions() as session:
        await stage.superuser.execute(_touch(account_id))
        await stage.send(session, _touch(account_id))


async def a_statement_that_takes_too_long(stage: Stage) -> None:
    async with stage.connect(statement_timeout_ms=20).sessions() as session:
        await stage.send(session, "SELECT pg_sleep(60)")


async def _interrupted(stage: Stage, function: str) -> NoReturn:
    async with stage.connect().sessions() as session:
        pid = await process_id(session)
        task = asyncio.create_task(stage.send(session, "SELECT pg_sleep(60)"))
        await _until_asleep(stage.superuser, pid)
        await stage.superuser.execute(f"SELECT {function}({pid})")
        await task
    raise AssertionError("the statement outlived it")


async def a_statement_cancelled_by_an_operator(stage: Stage) -> None:
    await _interrupted(stage, "pg_cancel_backend")


async def a_session_ended_during_a_statement(stage: Stage) -> None:
    await _interrupted(stage, "pg_terminate_backend")


async def a_connection_cut_during_a_statement(stage: Stage) -> None:
    """The connection ends without a message of the server."""
    async with commit_proxy(stage.url) as proxy, stage.connect(proxy.url).sessions() as session:
        pid = await process_id(session)
        task = asyncio.create_task(stage.send(session, "SELECT pg_sleep(60)"))
        await _until_asleep(stage.superuser, pid)
        await proxy.stop()
        await task


async def a_session_ended_between_statements(stage: Stage) -> None:
    async with stage.connect().sessions() as session:
        pid = await process_id(session)
        await stage.superuser.execute(f"SELECT pg_terminate_backend({pid})")
        await _until_gone(stage.superuser, pid)
        await stage.send(session, "SELECT 1")


async def a_session_ended_before_its_commit(stage: Stage) -> None:
    account_id = await add_account(stage.superuser)
    async with stage.connect().sessions() as session:
        pid = await process_id(session)
        await stage.send(session, _touch(account_id))
        await stage.superuser.execute(f"SELECT pg_terminate_backend({pid})")
        await _until_gone(stage.superuser, pid)
        await session.commit()


async def a_session_that_idled_too_long_in_its_transaction(stage: Stage) -> None:
    async with stage.connect(statement_timeout_ms=20).sessions() as session:
        await _until_gone(stage.superuser, await process_id(session))
        await stage.send(session, "SELECT 1")


async def a_connection_that_died_in_the_pool(stage: Stage) -> None:
    database = stage.connect()
    async with database.sessions() as session:
        pid = await process_id(session)
    await stage.superuser.execute(f"SELECT pg_terminate_backend({pid})")
    await _until_gone(stage.superuser, pid)
    async with database.sessions() as session:
        await stage.send(session, "SELECT 1")


async def a_commit_whose_answer_is_lost(stage: Stage) -> None:
    async with commit_proxy(stage.url) as proxy, stage.connect(proxy.url).sessions() as session:
        await process_id(session)
        proxy.break_commits(Fault.ANSWER_LOST, every_commit=True)
        await session.commit()


async def a_pool_without_a_free_connection(stage: Stage) -> None:
    database = stage.connect(pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.02)
    async with database.sessions() as holder, database.sessions() as session:
        await holder.execute(text("SELECT 1"))
        await stage.send(session, "SELECT 1")


async def a_server_without_a_free_connection(stage: Stage) -> None:
    database = await stage.superuser.fetchval("SELECT current_database()")
    await stage.superuser.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 0")
    try:
        async with stage.connect().sessions() as session:
            await stage.send(session, "SELECT 1")
    finally:
        await stage.superuser.execute(f"ALTER DATABASE {database} CONNECTION LIMIT -1")


async def a_server_that_is_down(stage: Stage) -> None:
    async with stage.connect(f"postgresql://funds_service@127.0.0.1:{free_port()}/funds").sessions() as session:
        await stage.send(session, "SELECT 1")


async def a_server_without_its_socket(stage: Stage) -> None:
    async with stage.connect("postgresql://funds_service@/funds?host=/nonexistent&port=5432").sessions() as session:
        await stage.send(session, "SELECT 1")


async def a_server_of_the_wrong_kind(stage: Stage) -> None:
    """As after a failover: it is there, but it is not the standby that is wanted."""
    url = f"{stage.url}{'&' if '?' in stage.url else '?'}target_session_attrs=standby"
    async with stage.connect(url).sessions() as session:
        await stage.send(session, "SELECT 1")


async def a_server_that_falls_silent(stage: Stage) -> None:
    """The server's own limit is the longer one here, so the client's limit ends the wait."""
    stage.monkeypatch.setattr("service.storage.database._CLIENT_TIMEOUT_MARGIN_SECONDS", -59.8)
    async with stage.connect(statement_timeout_ms=60_000).sessions() as session:
        await stage.send(session, "SELECT pg_sleep(60)")


async def a_write_on_a_server_that_only_reads(stage: Stage) -> None:
    account_id = await add_account(stage.superuser)
    async with stage.connect().sessions() as session:
        await session.execute(text("SET TRANSACTION READ ONLY"))
        await stage.send(session, _touch(account_id))


async def a_privilege_that_was_revoked(stage: Stage) -> None:
    async with stage.connect().sessions() as session:
        await stage.send(session, "DELETE FROM funds.transfers")


async def a_column_whose_type_changed(stage: Stage) -> None:
    """Between two uses of one prepared statement, in a transaction."""
    await stage.superuser.execute("CREATE TABLE IF NOT EXISTS public.changing (value integer)")
    await stage.superuser.execute("GRANT SELECT ON public.changing TO funds_service")
    database = stage.connect()
    try:
        async with database.sessions() as session:
            await _fetch(session, "SELECT value FROM public.changing")
        await stage.superuser.execute("ALTER TABLE public.changing ALTER COLUMN value TYPE bigint")
        async with database.sessions() as session:
            await process_id(session)
            try:
                await _fetch(session, "SELECT value FROM public.changing")
            except BaseException as error:
                stage.errors.append(error)
                raise
    finally:
        await stage.superuser.execute("DROP TABLE public.changing")


async def _fetch(session: AsyncSession, statement: str) -> None:
    pooled = await (await session.connection()).get_raw_connection()
    driver = pooled.driver_connection
    assert isinstance(driver, asyncpg.Connection)
    await driver.fetch(statement)
