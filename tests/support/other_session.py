"""Another session of the database, which holds locks that the service wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

WAIT_SECONDS_MAX = 30.0
POLL_SECONDS = 0.01


async def wait_until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Evaluate ``condition`` repeatedly until it is true."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(POLL_SECONDS)


class OtherSession:
    """Holds locks in the database until ``release``."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def release(self) -> None:
        if self._connection.is_in_transaction():
            await self._connection.execute("ROLLBACK")

    async def waiters(self) -> int:
        """How many sessions of this database wait for a lock."""
        await self._connection.execute("SELECT pg_stat_clear_snapshot()")
        return int(
            await self._connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    async def wait_for_waiters(self, count: int) -> None:
        async def enough() -> bool:
            return await self.waiters() >= count

        await wait_until(enough)


@asynccontextmanager
async def holding_account(url: str, account_id: str) -> AsyncIterator[OtherSession]:
    """Lock an account's row in a session of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        await connection.execute("SELECT FROM funds.accounts WHERE id = $1::text::uuid FOR UPDATE", account_id)
        yield OtherSession(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def holding_head(url: str, ledger_id: int) -> AsyncIterator[OtherSession]:
    """Lock a ledger's head in a session of its own, as another writer does."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        await connection.execute("SELECT FROM funds.ledger_heads WHERE ledger_id = $1 FOR NO KEY UPDATE", ledger_id)
        yield OtherSession(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def holding_key(url: str, ledger: str, key: str) -> AsyncIterator[OtherSession]:
    """Decide under a key of the ledger's only client and do not commit."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        await connection.execute(
            """
            INSERT INTO funds.decisions
              (ledger_id, client_id, idempotency_key, fingerprint, operation, outcome, created_at)
            SELECT DISTINCT ledger_id, client_id, $2, '\\x00'::bytea, 'fence_key', 'fenced', now()
            FROM funds.decisions JOIN funds.ledgers ON ledgers.id = ledger_id WHERE ledgers.name = $1
            """,
            ledger,
            key,
        )
        yield OtherSession(connection)
    finally:
        await connection.close()


async def decided(url: str, keys: list[str]) -> set[str]:
    """Return which of ``keys`` have a decision in the database."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT idempotency_key FROM funds.decisions WHERE idempotency_key = ANY($1::text[])", keys
        )
    finally:
        await connection.close()
    return {row["idempotency_key"] for row in rows}


async def database_time(url: str) -> datetime:
    """Return the database's time."""
    connection = await asyncpg.connect(url)
    try:
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    finally:
        await connection.close()
    return now


async def expire_now(superuser_url: str, hold_ids: list[str]) -> None:
    """Let the time of the open ones of ``hold_ids`` be over at this very moment of the database's clock."""
    connection = await asyncpg.connect(superuser_url)
    try:
        async with connection.transaction():
            # In the order in which batches lock them: in another one, both would wait for each other.
            await connection.execute(
                "SELECT FROM funds.holds WHERE id = ANY($1::text[]::uuid[]) ORDER BY id FOR NO KEY UPDATE", hold_ids
            )
            # The time is read after the locks were granted: later than everything that happened to a hold before.
            await connection.execute(
                "UPDATE funds.holds SET expires_at = clock_timestamp()"
                " WHERE status = 'open' AND id = ANY($1::text[]::uuid[])",
                hold_ids,
            )
    finally:
        await connection.close()


async def wait_until_closed(url: str, hold_ids: list[str]) -> None:
    """Wait until none of ``hold_ids`` is open."""
    connection = await asyncpg.connect(url)
    try:

        async def closed() -> bool:
            return not await connection.fetchval(
                "SELECT count(*) FROM funds.holds WHERE status = 'open' AND id = ANY($1::text[]::uuid[])", hold_ids
            )

        await wait_until(closed)
    finally:
        await connection.close()
