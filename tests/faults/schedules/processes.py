"""Faults of the service's processes. Each is a context that yields the moment from which recovery counts."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.schedules.stage import STRUCK, Stage
from tests.support.haproxy import RISE_SECONDS
from tests.support.killing import kill_everything, kill_workers, signal_all


@asynccontextmanager
async def worker_killed(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """SIGKILL; the main process starts another one."""
    kill_workers(stage.services[STRUCK])
    yield time.monotonic()


@asynccontextmanager
async def worker_stopped(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """SIGSTOP, and SIGCONT: its connections stay open, and its transaction keeps its locks."""
    signal_all(stage.services[STRUCK], signal.SIGSTOP, main=False)
    await asyncio.sleep(seconds)
    signal_all(stage.services[STRUCK], signal.SIGCONT, main=False)
    yield time.monotonic()


@asynccontextmanager
async def service_killed(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """Every process at once, as a crash of its machine; started again after a while."""
    await asyncio.to_thread(kill_everything, stage.services[STRUCK])
    await asyncio.sleep(seconds)
    stage.launch(STRUCK)
    yield time.monotonic()
    await stage.ready(STRUCK)


@asynccontextmanager
async def service_stopped(stage: Stage, seconds: float) -> AsyncIterator[float]:
    """SIGSTOP of every process, and SIGCONT."""
    signal_all(stage.services[STRUCK], signal.SIGSTOP)
    await asyncio.sleep(seconds)
    signal_all(stage.services[STRUCK], signal.SIGCONT)
    yield time.monotonic()


@asynccontextmanager
async def service_restarted(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """SIGTERM: it ends what it has begun, and ends well."""
    code = await asyncio.to_thread(stage.services[STRUCK].stop)
    assert code == 0, f"exit code {code}"
    stage.launch(STRUCK)
    yield time.monotonic()
    await stage.ready(STRUCK)


@asynccontextmanager
async def rolling_restart(stage: Stage, _seconds: float) -> AsyncIterator[float]:
    """One of two instances behind HAProxy, which sends requests to the other one meanwhile."""
    began = time.monotonic()
    assert await asyncio.to_thread(stage.services[STRUCK].stop) == 0
    stage.launch(STRUCK)
    yield began
    await stage.ready(STRUCK)
    await asyncio.sleep(RISE_SECONDS)  # what is waited for is the proxy's own schedule
