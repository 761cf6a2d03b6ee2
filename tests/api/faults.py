"""What breaks a database under an application, and heals it again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.servers import TestDatabase

# Tries end soon, so that a fault shows as the answer that it leads to.
IMPATIENT = {
    "connect_timeout_seconds": 1.0,
    "pool_timeout_seconds": 0.5,
    "read_attempts_max": 2,
    "read_deadline_seconds": 0.5,
    "commit_attempts_max": 2,
    "commit_deadline_seconds": 0.5,
}


@asynccontextmanager
async def superuser(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may do anything, also while nobody else may connect."""
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
    """Within, every connection is cut and no new one is taken."""
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
    """Within, nobody else can read or write ``table``; yields the connection that holds the lock."""
    async with superuser(database) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE funds.{table} IN ACCESS EXCLUSIVE MODE")
        yield connection


async def wait_until_blocked(connection: asyncpg.Connection) -> None:
    """Wait until somebody waits for a lock of this database."""
    blocked = (
        "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE datname = current_database() AND NOT granted)"
    )
    while not await connection.fetchval(blocked):
        pass
