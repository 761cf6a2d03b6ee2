"""A watch of the event loop: how long one request holds it up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import thread_time


@dataclass
class Pauses:
    """The longest time, in seconds, for which nothing else on the loop got its turn.

    It is the time of the CPU: what else the machine does while it is busy is no fault of the loop's.
    """

    longest_seconds: float = 0.0


@asynccontextmanager
async def watched_loop() -> AsyncIterator[Pauses]:
    """Watch the running loop with a task that yields all the time and measures how long it waits to run again."""
    pauses = Pauses()

    async def watch() -> None:
        last = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            pauses.longest_seconds = max(pauses.longest_seconds, now - last)
            last = now

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        yield pauses
    finally:
        await asyncio.sleep(0)
        watcher.cancel()
