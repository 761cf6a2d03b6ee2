"""Background work that is done again and again: one way to start it, to survive its failures and to stop it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from service import tasks
from service.errors import FundsError
from service.storage.errors import reason

logger = logging.getLogger(__name__)


class PeriodicWorker:
    """Does ``work`` from its start until its stop: at once again when it says (True) that there is more to do, and
    ``interval_seconds`` after it ended otherwise, or failed.

    No failure ends a worker. Each is logged with its reason, a line a minute for each cause, and with its traceback
    when it is none of ours. ``stop`` lets what is under way finish, and where it works ``at_stop`` has it done once
    more, for ``stop_seconds_max`` at most; then it is cancelled.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[bool | None]],
        *,
        interval_seconds: float,
        stop_seconds_max: float,
        at_stop: bool = False,
    ) -> None:
        self._name = name
        self._work = work
        self._interval_seconds = interval_seconds
        self._stop_seconds_max = stop_seconds_max
        self._at_stop = at_stop
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin with the first turn."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Finish the turn that is under way, and take the last one of a worker that works at its stop, within
        ``stop_seconds_max``.
        """
        self._stopping.set()
        if self._task is not None:
            await tasks.end([self._task], seconds_max=self._stop_seconds_max)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            if not await self._turn():
                await self._pause()
        if self._at_stop:
            await self._turn()

    async def _turn(self) -> bool:
        try:
            return bool(await self._work())
        except Exception as error:
            logger.warning(
                "a background worker failed and is tried again",
                exc_info=None if isinstance(error, FundsError) else error,
                extra={"worker": self._name, "reason": f"{self._name}: {reason(error)}"},
            )
            return False

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._interval_seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
