"""Callers of an engine, and what keeps it busy while they wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service.domain.book import Answer
from service.engine.engine import TransferEngine
from service.engine.queue import Unit
from tests.concurrency.outsider import holding_account
from tests.engine.commands import transfer
from tests.rows import MAIN, add_accounts

Answers = asyncio.Task[list[list[Answer]]]
Start = Callable[..., Awaitable[TransferEngine]]
"""Starts an engine with the settings that are given changed."""


def submit(engine: TransferEngine, *unit: Any, ledger_id: int = MAIN) -> Answers:
    """Submit one unit as a task of its own."""
    units: list[Unit] = [list(unit)]
    return asyncio.create_task(engine.submit(ledger_id, units))


@asynccontextmanager
async def busy(engine: TransferEngine, superuser: asyncpg.Connection, superuser_url: str) -> AsyncIterator[Answers]:
    """Keep the only committer of ``engine`` busy: it waits for an account that somebody holds."""
    a, b = await add_accounts(superuser, 2)
    async with holding_account(superuser_url, str(a)) as outsider:
        task = submit(engine, transfer(a, b))
        await outsider.wait_for_waiters(1)
        yield task


async def queued() -> None:
    """Let the tasks made until now put their submissions into the queue."""
    await asyncio.sleep(0)
