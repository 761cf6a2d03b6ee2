"""The periodic worker: when it does its work, what it survives, how it stops."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import pytest

from service.errors import Failure, OverloadedError, StorageError
from service.workers.periodic import PeriodicWorker

SOON = 0.02
NEVER = 3600.0


def _worker(work: Callable[[], Awaitable[bool | None]], *, every: float = SOON, stop: float = 1.0) -> PeriodicWorker:
    return PeriodicWorker("test-worker", work, interval_seconds=every, stop_seconds_max=stop)


class Turns:
    """Work that says how often it was done, and ends each turn as it is told: True for more, an error to raise."""

    def __init__(self, ends: Iterable[bool | Exception] = ()) -> None:
        self.count = 0
        self._ends = iter(ends)

    async def take(self) -> bool:
        self.count += 1
        end = next(self._ends, False)
        if isinstance(end, Exception):
            raise end
        return end

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(30):
            while self.count < count:  # noqa: ASYNC110 - the work itself knows of no waiting test
                await asyncio.sleep(SOON / 4)


async def test_it_works_at_once_and_again_after_the_interval() -> None:
    turns, started = Turns(), asyncio.get_running_loop().time()
    worker = _worker(turns.take)
    running = [worker.running]
    worker.start()
    await turns.reach(3)
    running.append(worker.running)
    assert asyncio.get_running_loop().time() - started >= 2 * SOON
    await worker.stop()
    assert [*running, worker.running] == [False, True, False]
    done = turns.count
    await asyncio.sleep(3 * SOON)
    assert turns.count == done


async def test_the_last_turn_is_at_its_stop_where_it_says_so() -> None:
    turns = Turns()
    worker = PeriodicWorker("test-worker", turns.take, interval_seconds=NEVER, stop_seconds_max=5, at_stop=True)
    worker.start()
    await turns.reach(1)
    await worker.stop()
    assert turns.count == 2


async def test_it_goes_on_at_once_while_there_is_more() -> None:
    turns = Turns([True, True, False, True])
    worker = _worker(turns.take, every=NEVER)
    worker.start()
    await turns.reach(3)
    await asyncio.sleep(SOON)
    assert turns.count == 3
    await worker.stop()


@pytest.mark.parametrize(
    "error", [StorageError(Failure.UNAVAILABLE), OverloadedError("the queue is full"), RuntimeError("a fault of ours")]
)
async def test_it_survives_every_failure_and_says_why(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns([error])
    worker = _worker(turns.take)
    worker.start()
    await turns.reach(3)
    await worker.stop()
    [line] = [record for record in caplog.records if record.name == "service.workers.periodic"]
    assert line.__dict__["reason"].startswith(f"test-worker: {type(error).__name__} at test_periodic.py:")
    assert (line.exc_info is not None) == isinstance(error, RuntimeError)


async def test_a_failure_waits_for_the_interval() -> None:
    turns = Turns([OverloadedError(), True])
    worker = _worker(turns.take, every=NEVER)
    worker.start()
    await turns.reach(1)
    await asyncio.sleep(SOON)
    assert turns.count == 1
    await worker.stop()


async def _last(seconds: float, ended: list[str]) -> None:
    try:
        await asyncio.sleep(seconds)
        ended.append("done")
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise


@pytest.mark.parametrize(("seconds", "expected"), [(5 * SOON, "done"), (NEVER, "cancelled")])
async def test_stopping_waits_for_the_turn_and_then_cancels_it(seconds: float, expected: str) -> None:
    ended: list[str] = []
    worker = _worker(partial(_last, seconds, ended), every=NEVER, stop=20 * SOON)
    worker.start()
    await asyncio.sleep(SOON)
    await worker.stop()
    assert (ended, worker.running) == ([expected], False)


async def test_stopping_does_not_wait_for_the_interval() -> None:
    turns = Turns()
    worker = _worker(turns.take, every=NEVER, stop=NEVER)
    worker.start()
    await turns.reach(1)
    async with asyncio.timeout(30):
        await worker.stop()


async def test_a_worker_that_never_started_stops() -> None:
    await _worker(Turns().take).stop()
