"""Faults between a service and PostgreSQL, at COMMIT and elsewhere, and locks of others. Each is a context that yields
the moment from which recovery counts.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from tests.faults.schedules.stage import Stage
from tests.support.commit_proxy import Fault
from tests.support.other_session import OtherSession, holding_account, holding_head, wait_until

_COMMITS = 3
_DELAY_SECONDS = 0.02


def commits(fault: Fault) -> Callable[[Stage, float], AbstractAsyncContextManager[float]]:
    """The next few commits meet ``fault``."""

    @asynccontextmanager
    async def broken(stage: Stage, _seconds: float) -> AsyncIterator[float]:
        for proxy in stage.proxies:
            proxy.break_commits(fault, _COMMITS)
        await wait_until(lambda: any(proxy.faults_met for proxy in stage.proxies))
        yield time.monotonic()
        stage.break_nothing()

    return broken


@asynccontextmanager
async def forgotten(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """Whatever is sent on connections that are open is dropped; new ones pass."""
    for proxy in stage.proxies:
        proxy.forget()
    yield time.monotonic()


@asynccontextmanager
async def black_hole(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """Nothing passes, on new connections neither, and nobody is told."""
    for proxy in stage.proxies:
        proxy.fall_silent()
    await asyncio.sleep(seconds)
    stage.break_nothing()
    yield time.monotonic()


@asynccontextmanager
async def delayed(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """Every message takes _DELAY_SECONDS longer."""
    for proxy in stage.proxies:
        proxy.delay_seconds = _DELAY_SECONDS
    await asyncio.sleep(seconds)
    stage.break_nothing()
    yield time.monotonic()


@asynccontextmanager
async def reset(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """Every connection ends at once."""
    for proxy in stage.proxies:
        proxy.reset()
    yield time.monotonic()


@asynccontextmanager
async def heads_locked(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """Somebody else holds the head of every ledger that is written to."""
    async with stage.superuser() as connection:
        names = [bank.ledger for bank in stage.banks]
        rows = await connection.fetch("SELECT id FROM funds.ledgers WHERE name = ANY($1::text[])", names)
    await _hold([holding_head(stage.url, row["id"]) for row in rows], seconds)
    yield time.monotonic()


@asynccontextmanager
async def accounts_locked(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """Somebody else holds an account of every ledger that is written to."""
    await _hold([holding_account(stage.url, bank.customers[0]) for bank in stage.banks], seconds)
    yield time.monotonic()


async def _hold(sessions: list[AbstractAsyncContextManager[OtherSession]], seconds: float) -> None:
    """Hold locks for so long, once somebody waits for them."""
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(session) for session in sessions]
        await others[0].wait_for_waiters(1)
        await asyncio.sleep(seconds)
