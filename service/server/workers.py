"""The processes that serve, seen from the main one: started, replaced when they die, stopped together."""

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
"""Who lives as long as this had no trouble with its start."""


class Workers:
    """``count`` processes that each run ``target(*arguments)``, in interpreters of their own.

    ``stop`` may be called from a signal handler. A worker that dies is replaced, after a pause that grows while
    workers die young.
    """

    def __init__(self, target: Callable[..., None], arguments: tuple[Any, ...], *, count: int) -> None:
        # A fresh interpreter for each: nothing of this process (lock, threads, event loops) leaks into it.
        self._context = multiprocessing.get_context("spawn")
        self._target = target
        self._arguments = arguments
        self._count = count
        self._running: dict[BaseProcess, float] = {}
        self._pause_seconds = _PAUSE_SECONDS_FIRST
        self._wake_reader, self._wake_writer = os.pipe()
        self.stopping = False

    def stop(self) -> None:
        """Have ``run`` end the workers and return."""
        if not self.stopping:
            self.stopping = True
            os.write(self._wake_writer, b"\0")

    def run(self, *, drain_delay_seconds: float, close_listeners: Callable[[], None], stop_seconds_max: float) -> None:
        """Keep the workers running until ``stop``, then ask them to end (SIGTERM), close the listeners when they do
        (after ``drain_delay_seconds``), and kill whoever has not ended after ``stop_seconds_max``.
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
                    self._bury(sentinels[sentinel])

    def _start_one(self) -> None:
        process = self._context.Process(target=self._target, args=self._arguments)
        process.start()
        self._running[process] = time.monotonic()

    def _bury(self, process: BaseProcess) -> None:
        lived_seconds = time.monotonic() - self._running.pop(process)
        process.join()
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


def leave_with_parent(poll_seconds: float) -> None:
    """Ask this process to end (SIGTERM) when its parent has: to be run in a thread."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(poll_seconds)
    os.kill(os.getpid(), signal.SIGTERM)
