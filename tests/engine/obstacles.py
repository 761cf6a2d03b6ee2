"""Where a batch can be made to wait, so that something may happen to it there."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import asyncpg

from service.domain.commands import PostTransfer
from tests.concurrency.outsider import Outsider, holding_account, wait_until
from tests.rows import add_decision

_WAITERS = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

Obstacle = Callable[[str, PostTransfer], AbstractAsyncContextManager[Outsider]]
"""Makes the batch of a command wait for as long as the context lasts; the URL is the superuser's."""


@asynccontextmanager
async def uncommitted_decision(url: str, key: str, **columns: object) -> AsyncIterator[asyncpg.Connection]:
    """Take ``key`` in a transaction that is under way: who writes under the key waits, and no lock revealed it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        await add_decision(connection, key, **columns)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def while_locking(url: str, command: PostTransfer) -> AsyncIterator[Outsider]:
    async with holding_account(url, str(command.debit_account_id)) as outsider:
        yield outsider


@asynccontextmanager
async def while_writing(url: str, command: PostTransfer) -> AsyncIterator[Outsider]:
    async with uncommitted_decision(url, command.idempotency_key) as rival:
        yield Outsider(rival)


@asynccontextmanager
async def while_settling_alone(url: str, command: PostTransfer) -> AsyncIterator[Outsider]:
    """The batch must fall back first: a trigger refuses more than one transfer at once."""
    connection = await asyncpg.connect(url)
    await connection.execute("""
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN IF (SELECT count(*) > 1 FROM added) THEN RAISE ''too many''; END IF; RETURN NULL; END';
        CREATE TRIGGER refuse AFTER INSERT ON funds.transfers REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION public.refuse();
    """)
    try:
        async with while_writing(url, command) as outsider:
            yield outsider
    finally:
        await connection.execute("DROP FUNCTION public.refuse() CASCADE")
        await connection.close()


@asynccontextmanager
async def while_committing(url: str, _: PostTransfer) -> AsyncIterator[Outsider]:
    """COMMIT itself waits: a deferred trigger wants an advisory lock."""
    connection = await asyncpg.connect(url)
    await connection.execute("""
        CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON funds.decisions DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION public.wait();
    """)
    await connection.execute("SELECT pg_advisory_lock(1)")
    try:
        yield Outsider(connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock(1)")
        await connection.execute("DROP FUNCTION public.wait() CASCADE")
        await connection.close()


@asynccontextmanager
async def accounts_of_another_schema(superuser: asyncpg.Connection) -> AsyncIterator[None]:
    """Give accounts another shape than the one that the service was written for: a fault that no further try heals."""
    await superuser.execute("ALTER TABLE funds.accounts RENAME COLUMN version TO versions")
    try:
        yield
    finally:
        await superuser.execute("ALTER TABLE funds.accounts RENAME COLUMN versions TO version")


async def end_waiting_sessions(superuser: asyncpg.Connection) -> set[int]:
    """End every session of this database that waits for a lock; return their process ids."""
    rows = await superuser.fetch(f"SELECT pid, pg_terminate_backend(pid) {_WAITERS}")
    return {row["pid"] for row in rows}


async def wait_for_others(superuser: asyncpg.Connection, ended: set[int]) -> None:
    """Return when a session waits for a lock that is none of ``ended``."""

    async def found() -> bool:
        return bool(await superuser.fetchval(f"SELECT count(*) {_WAITERS} AND pid <> ALL($1::integer[])", [*ended]))

    await wait_until(found)


async def wait_for_tries(superuser: asyncpg.Connection, count: int) -> None:
    """Return when ``count`` transactions have been seen waiting for a lock, one after another."""
    seen: set[datetime] = set()

    async def enough() -> bool:
        seen.update(row["xact_start"] for row in await superuser.fetch(f"SELECT xact_start {_WAITERS}"))
        return len(seen) >= count

    await wait_until(enough)


async def wait_for_blocked(superuser: asyncpg.Connection, *, by: int) -> None:
    """Return when a session waits for what the session of process ``by`` holds."""

    async def found() -> bool:
        return bool(
            await superuser.fetchval(f"SELECT count(*) {_WAITERS} AND $1::integer = ANY(pg_blocking_pids(pid))", by)
        )

    await wait_until(found)
