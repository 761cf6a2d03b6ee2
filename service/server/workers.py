"""The worker processes of the server, as the main process manages them: started, replaced when one ends, stopped."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

logger = logging.getLogger(__name__)

_PAUSE_SECONDS_FIRST = 0.25
_PAUSE_SECONDS_MAX = 10.0
_HEALTHY_SECONDS = 10.0
"""A worker that ran for longer than this had no trouble with its start."""


class Workers:
    """Runs ``target(*arguments, number)`` in ``count`` processes, each with an interpreter of its own. The numbers are
    those below ``count``, and one that replaces another has its number.

    A worker that ends is replaced after a pause, which grows while workers end within _HEALTHY_SECONDS; before it,
    ``ended`` is called with its number. ``stop`` may be called from a signal handler.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        *,
        count: int,
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        # A fresh interpreter for each worker: it inherits no lock, thread or event loop of this process.
        self._context = multiprocessing.get_context("spawn")
        self._target = target
        self._arguments = arguments
        self._count = count
        self._ended = ended
        self._running: dict[BaseProcess, tuple[int, float]] = {}
        self._pause_seconds = _PAUSE_SECONDS_FIRST
        self._wake_reader, self._wake_writer = os.pipe()
        self.stopping = False

    def stop(self) -> None:
        """Make ``run`` end the workers and return."""
        if not self.stopping:
            self.stopping = True
            os.write(self._wake_writer, b"\0")

    def run(self, *, drain_delay_seconds: float, close_listeners: Callable[[], None], stop_seconds_max: float) -> None:
        """Keep the workers running until ``stop``, then end them: send them SIGTERM, close the listeners after
        ``drain_delay_seconds`` (when the workers close theirs), and kill the workers that have not ended after
        ``stop_seconds_max``.
        """
        try:
            self._keep_running()
        finally:
            self._end(drain_delay_seconds, close_listeners, stop_seconds_max)

    def _keep_running(self) -> None:
        while not self.stopping:
            while len(self._running) < self._count and not self.stopping:
                self._start_one()
            sentinels = {process.sentinel: process for process in self._running}
            ready = wait([*sentinels, self._wake_reader])
            for sentinel in ready:
                if sentinel in sentinels and not self.stopping:
                    self._remove_ended(sentinels[sentinel])

    def _start_one(self) -> None:
        taken = {number for number, _ in self._running.values()}
        number = next(number for number in range(self._count) if number not in taken)
        process = self._context.Process(target=self._target, args=(*self._arguments, number))
        process.start()
        self._running[process] = number, time.monotonic()

    def _remove_ended(self, process: BaseProcess) -> None:
        """Log the end of a worker, and wait before another one may start."""
        number, started = self._running.pop(process)
        lived_seconds = time.monotonic() - started
        process.join()
        self._ended(number)
        if lived_seconds > _HEALTHY_SECONDS:
            self._pause_seconds = _PAUSE_SECONDS_FIRST
        logger.error(
            "a worker ended and is replaced",
            extra={"exit_code": process.exitcode, "lived_seconds": round(lived_seconds, 1)},
        )
        wait([self._wake_reader], self._pause_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, _PAUSE_SECONDS_MAX)

    def _end(self, drain_delay_seconds: float, close_listeners: Callable[[], None], stop_seconds_max: float) -> None:
        for process in self._running:
            process.terminate()
        end = time.monotonic() + stop_seconds_max
        self._await_end(time.monotonic() + drain_delay_seconds)
        close_listeners()
        self._await_end(end)
        for process in self._running:
            if process.exitcode is None:
                logger.error("a worker did not end in time and is killed")
                process.kill()
            process.join()

    def _await_end(self, deadline: float) -> None:
        """Wait until every worker has ended, or until ``deadline``."""
        while alive := [process.sentinel for process in self._running if process.exitcode is None]:
            if not wait(alive, max(0.0, deadline - time.monotonic())):
                return


def stop_with_parent(poll_seconds: float) -> None:
    """Send SIGTERM to this process when its parent has ended. Blocks until then, so it is run in a thread."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(poll_seconds)
    os.kill(os.getpid(), signal.SIGTERM)
