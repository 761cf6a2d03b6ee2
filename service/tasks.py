"""Tasks: how those that run in the background end."""

import asyncio
from collections.abc import Collection
from typing import Any


async def end(tasks: Collection[asyncio.Task[Any]], *, seconds_max: float) -> None:
    """Wait until ``tasks`` have ended by themselves, for ``seconds_max`` at most; cancel those that have not, and wait
    until they have cleaned up. What they raise is theirs: nothing is raised here.
    """
    if tasks:
        await asyncio.wait(tasks, timeout=seconds_max)
    for task in tasks:
        task.cancel()  # of one that has ended, nothing
    await asyncio.gather(*tasks, return_exceptions=True)
