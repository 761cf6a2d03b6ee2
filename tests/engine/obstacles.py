"""Where a batch can be made to wait, so that something may happen to it there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.rows import add_decision


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
