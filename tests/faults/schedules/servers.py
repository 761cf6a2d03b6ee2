"""Faults of PostgreSQL: of a backend, of a server, of the pair. Each is a context that yields the moment from which
recovery counts.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from tests.faults.schedules.stage import Stage

_BACKENDS = "FROM pg_stat_activity WHERE usename = 'funds_service' AND backend_type = 'client backend'"
_TERMINATIONS = 5
_ROLE_LIMIT = 1


@asynccontextmanager
async def backends_terminated(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """Every connection of the services, a few times."""
    async with stage.superuser() as connection:
        for _ in range(_TERMINATIONS):
            await connection.execute(f"SELECT pg_terminate_backend(pid) {_BACKENDS}")
            await asyncio.sleep(seconds / _TERMINATIONS)
    yield time.monotonic()


@asynccontextmanager
async def backend_killed(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """SIGKILL of one that works: the server ends all of them, recovers, and goes on."""
    pid = await _busy_backend(stage)
    os.kill(pid, signal.SIGKILL)
    yield time.monotonic()


@asynccontextmanager
async def backend_stopped(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """SIGSTOP of one that works, with whatever locks it has, and SIGCONT."""
    pid = await _busy_backend(stage)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    yield time.monotonic()


@asynccontextmanager
async def connections_limited(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """No connection but one for both services, until there may be as many as before."""
    await stage.execute(
        f"ALTER ROLE funds_service CONNECTION LIMIT {_ROLE_LIMIT}", f"SELECT pg_terminate_backend(pid) {_BACKENDS}"
    )
    await asyncio.sleep(seconds)
    await stage.execute("ALTER ROLE funds_service CONNECTION LIMIT -1")
    yield time.monotonic()


@asynccontextmanager
async def server_killed(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """SIGKILL of every process of the primary; started again after a while."""
    await asyncio.to_thread(stage.primary.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(stage.primary.start)
    yield time.monotonic()


@asynccontextmanager
async def server_stopped(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """SIGSTOP of every process of the primary, and SIGCONT."""
    stage.primary.freeze()
    await asyncio.sleep(seconds)
    stage.primary.thaw()
    yield time.monotonic()


@asynccontextmanager
async def standby_lost(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """The synchronous standby is away: every COMMIT waits for it, and reads go to the primary."""
    await asyncio.to_thread(stage.standby.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(stage.standby.start)
    yield time.monotonic()


@asynccontextmanager
async def standby_lagged(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """The standby replays nothing: it has what is acknowledged, and shows what was."""
    connection = await asyncpg.connect(stage.standby.url("postgres"))
    try:
        await connection.execute("SELECT pg_wal_replay_pause()")
        await asyncio.sleep(seconds)
        await connection.execute("SELECT pg_wal_replay_resume()")
    finally:
        await connection.close()
    yield time.monotonic()


@asynccontextmanager
async def failover(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """The primary is killed, and the standby promoted; afterwards the old one follows it."""
    await asyncio.to_thread(stage.primary.kill)
    yield await _take_over(stage)
    await _follow(stage)


@asynccontextmanager
async def failover_from_silence(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """The primary falls silent, its connections open, and the standby is promoted."""
    stage.primary.freeze()
    yield await _take_over(stage)
    await asyncio.to_thread(stage.standby.kill)
    await _follow(stage)


async def _take_over(stage: Stage) -> float:
    await stage.standby.promote()
    stage.primary, stage.standby = stage.standby, stage.primary
    return time.monotonic()


async def _follow(stage: Stage) -> None:
    await asyncio.to_thread(stage.standby.rejoin, stage.primary)
    await stage.primary.wait_for_standby()


async def _busy_backend(stage: Stage) -> int:
    """The process of a backend that works for a service; of any, where none is seen working."""
    async with stage.superuser() as connection:
        pid = await connection.fetchval(f"SELECT pid {_BACKENDS} ORDER BY state = 'idle', state_change LIMIT 1")
    assert pid is not None, "the services have no connections"
    return int(pid)
