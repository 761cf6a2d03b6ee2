"""Obstacles that make a batch wait at a certain step, so that a test can do something to it there."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import asyncpg

from service.domain.commands import PostTransfer
from tests.support.other_session import OtherSession, holding_account, wait_until
from tests.support.rows import add_decision

_WAITERS = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

Obstacle = Callable[[str, PostTransfer], AbstractAsyncContextManager[OtherSession]]
"""Makes the batch of a command wait for as long as the context lasts; the URL is the superuser's."""


@asynccontextmanager
async def uncommitted_decision(url: str, key: str, **columns: object) -> AsyncIterator[asyncpg.Connection]:
    """Write a decision under ``key`` in a transaction that stays open: another writer of the key waits for it, and
    reads of the key do not show it.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        await add_decision(connection, key, **columns)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def while_locking(url: str, command: PostTransfer) -> AsyncIterator[OtherSession]:
    async with holding_account(url, str(command.debit_account_id)) as other_session:
        yield other_session


@asynccontextmanager
async def while_writing(url: str, command: PostTransfer) -> AsyncIterator[OtherSession]:
    async with uncommitted_decision(url, command.idempotency_key) as writer:
        yield OtherSession(writer)


@asynccontextmanager
async def one_transfer_a_statement(url: str) -> AsyncIterator[None]:
    """Have batches written group by group: a trigger refuses a statement with several transfers."""
    connection = await asyncpg.connect(url)
    await connection.execute("""
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN IF (SELECT count(*) > 1 FROM added) THEN RAISE ''too many''; END IF; RETURN NULL; END';
        CREATE TRIGGER refuse AFTER INSERT ON funds.transfers REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION public.refuse();
    """)
    try:
        yield
    finally:
        await connection.execute("DROP FUNCTION public.refuse() CASCADE")
        await connection.close()


@asynccontextmanager
async def while_writing_one_by_one(url: str, command: PostTransfer) -> AsyncIterator[OtherSession]:
    """Make the batch wait while it is written group by group."""
    async with one_transfer_a_statement(url), while_writing(url, command) as other_session:
        yield other_session


@asynccontextmanager
async def while_committing(url: str, _: PostTransfer) -> AsyncIterator[OtherSession]:
    """Make COMMIT itself wait: a deferred trigger waits for an advisory lock."""
    connection = await asyncpg.connect(url)
    await connection.execute("""
        CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON funds.decisions DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION public.wait();
    """)
    await connection.execute("SELECT pg_advisory_lock(1)")
    try:
        yield OtherSession(connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock(1)")
        await connection.execute("DROP FUNCTION public.wait() CASCADE")
        await connection.close()


@asynccontextmanager
async def accounts_of_another_schema(superuser: asyncpg.Connection) -> AsyncIterator[None]:
    """Rename a column of the accounts: a failure that no other attempt can avoid."""
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
    """Return when a session other than those in ``ended`` waits for a lock."""

    async def found() -> bool:
        return bool(await superuser.fetchval(f"SELECT count(*) {_WAITERS} AND pid <> ALL($1::integer[])", [*ended]))

    await wait_until(found)


async def wait_for_tries(superuser: asyncpg.Connection, count: int) -> None:
    """Return when ``count`` transactions have waited for a lock, one after another."""
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
