"""Pools of connections: the settings of their sessions, and how many connections they open."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from service.settings import Settings
from service.storage.addresses import plain_url
from service.storage.database import Database
from service.storage.rows import LedgerRow
from tests.support.servers import TestDatabase

SETTINGS = Settings(
    application_name="a test",
    statement_timeout_ms=4_000,
    lock_timeout_ms=3_000,
    pool_size=1,
    pool_max_overflow=2,
    pool_timeout_seconds=0.05,
    batches_in_flight_max=2,
)
ASKED = {
    "application_name": "a test",
    "statement_timeout": "4s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "4s",
    "TimeZone": "UTC",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
}
ASKED_FOR_BATCHES = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}

Connect = Callable[[str, Settings], Database]


@pytest.mark.parametrize(
    ("connect", "asked"), [(Database.connect, ASKED), (Database.connect_batches, ASKED | ASKED_FOR_BATCHES)]
)
async def test_a_session_runs_under_the_settings(
    shared_database: TestDatabase, connect: Connect, asked: dict[str, str]
) -> None:
    database = connect(shared_database.service_url, SETTINGS)
    async with database.sessions() as session:
        found = {name: (await session.execute(text(f"SHOW {name}"))).scalar_one() for name in asked}
    await database.close()
    assert found == asked


@pytest.mark.parametrize(("connect", "connections_max"), [(Database.connect, 3), (Database.connect_batches, 2)])
async def test_connections_are_bounded(shared_database: TestDatabase, connect: Connect, connections_max: int) -> None:
    """Group commit has exactly one connection for each batch in flight, which no other work takes."""
    database = connect(shared_database.service_url, SETTINGS)

    async def begin(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))

    sessions = [database.sessions() for _ in range(connections_max + 1)]
    await asyncio.gather(*map(begin, sessions[:-1]))
    with pytest.raises(PoolTimeoutError):
        await begin(sessions[-1])
    for session in sessions:
        await session.close()
    await database.close()


async def test_nothing_is_sent_before_the_first_statement() -> None:
    """A service may be made while its database is away."""
    database = Database.connect("postgresql://nobody@127.0.0.1:1/nowhere", SETTINGS)
    await database.close()


async def test_what_was_read_stays_readable_after_the_commit(pool: Database) -> None:
    async with pool.sessions() as session, session.begin():
        ledger = await session.get_one(LedgerRow, 1)
    assert ledger.name == "main"


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("postgresql+asyncpg://user@host/name?sslmode=require", "postgresql://user@host/name?sslmode=require"),
        ("postgresql://user:a+b@host/name", "postgresql://user:a+b@host/name"),
        ("postgres://host", "postgres://host"),
    ],
)
def test_urls_of_sqlalchemy_are_understood(url: str, plain: str) -> None:
    assert plain_url(url) == plain
