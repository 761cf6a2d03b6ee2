"""Statements of one transaction on the driver's connection, each sent when the one before it has been answered."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self, cast

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

PLAN_SECONDS_MAX = 1.0
"""How old a plan may grow. To plan a batch's statements costs the server about 2 ms."""


class Pipeline:
    """Sends statements in the transaction (or savepoint) that ``session`` is in.

    The caller goes on while PostgreSQL works: Python decides and encodes what comes next, and batches of a thousand
    hold their locks for a tenth less time (measured).
    """

    def __init__(self, session: AsyncSession, driver: asyncpg.Connection | None = None) -> None:
        self._session = session
        self._driver = driver
        self._running: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is asyncio.CancelledError and self._running is not None:
            self._running.cancel()  # its answer is not awaited any more
        await self.answer()

    async def send(self, statement: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> None:
        """Send ``statement`` after the answer to the one before it, without waiting for its own. Raises what the one
        before it raised.
        """
        await self.answer()
        if self._driver is None:
            # Not earlier: SQLAlchemy sends a SAVEPOINT when the session is first used in it, and a batch that writes
            # nothing needs none.
            self._driver = await driver_of(await self._session.connection())
        self._running = asyncio.create_task(statement(self._driver, *arguments))
        await asyncio.sleep(0)  # it goes out when the loop turns

    async def answer(self) -> Any:
        """Wait for the statement under way, if there is one, and return what it answers. Raises what it raises."""
        running, self._running = self._running, None
        return None if running is None else await running


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """Return the driver's connection under ``connection``."""
    pooled = await connection.get_raw_connection()
    return cast("asyncpg.Connection", pooled.driver_connection)


async def is_distributed(session: AsyncSession) -> bool:
    """Return whether tables may be distributed over nodes (Citus) in the database that ``session`` speaks to."""
    return bool((await driver_of(await session.connection())).is_distributed)


async def driver_without_old_plans(session: AsyncSession) -> asyncpg.Connection:
    """Return the driver's connection; every PLAN_SECONDS_MAX the server plans its statements anew.

    A plan for a small table is wrong for the same table some thousand rows later, and the server itself notices that
    only after a minute.
    """
    connection = await session.connection()
    driver = await driver_of(connection)
    now = time.monotonic()
    if now - connection.info.get("planned_at", 0.0) > PLAN_SECONDS_MAX:
        connection.info["planned_at"] = now
        await driver.execute("DISCARD PLANS")
    return driver
