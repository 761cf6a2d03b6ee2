"""Faults of a database under an application, each of which ends with its context."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.support.servers import TestDatabase

# A fault shows as the answer that it leads to after two attempts. No time is limited further than in production: on a
# slow machine, a single connection may take a second to open.
IMPATIENT = {"read_attempts_max": 2, "commit_attempts_max": 2}


@asynccontextmanager
async def superuser(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, which works also while no other role may connect."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(database: TestDatabase, *statements: str) -> None:
    async with superuser(database) as connection:
        for statement in statements:
            await connection.execute(statement)


@asynccontextmanager
async def gone(database: TestDatabase) -> AsyncIterator[None]:
    """While the context lasts, every connection is cut and no new one is accepted."""
    async with superuser(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        yield
        await connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")


@asynccontextmanager
async def locked(database: TestDatabase, table: str) -> AsyncIterator[asyncpg.Connection]:
    """While the context lasts, no other session can read or write ``table``. Yields the connection with the lock."""
    async with superuser(database) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE funds.{table} IN ACCESS EXCLUSIVE MODE")
        yield connection


async def wait_until_blocked(connection: asyncpg.Connection) -> None:
    """Wait until a session of this database waits for a lock."""
    blocked = (
        "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE datname = current_database() AND NOT granted)"
    )
    while not await connection.fetchval(blocked):
        pass
