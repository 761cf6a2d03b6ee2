"""Starting the embedded PostgreSQL again when it dies under a running service."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from service.embedded.postgres import EmbeddedPostgres
from service.errors import EmbeddedPostgresError
from service.telemetry import metrics

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_PAUSE_SECONDS_FIRST = 0.25
_PAUSE_SECONDS_MAX = 30.0
_HEALTHY_SECONDS = 60.0
"""A server that ran for longer than this had no trouble with its start."""


class Supervisor:
    """Keeps ``server`` running, which this process has started, from entering the block to leaving it; in a thread of
    its own, and nothing else may use ``server`` meanwhile.

    A server that has ended is started again after a pause, which grows while it ends within _HEALTHY_SECONDS, with an
    error in the log each time. What was committed is found again: the server recovers from its log as after any crash.
    """

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="embedded PostgreSQL", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Return when the server is left alone, which takes as long as a start that is under way."""
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        started, pause_seconds = time.monotonic(), _PAUSE_SECONDS_FIRST
        while not self._stopping.wait(_LOOK_SECONDS):
            if self._server.running:
                continue
            metrics.embedded_restarts.add()
            lived_seconds = time.monotonic() - started
            if lived_seconds > _HEALTHY_SECONDS:
                pause_seconds = _PAUSE_SECONDS_FIRST
            logger.error(
                "the embedded PostgreSQL has ended and is started again; its own log says why it ended",
                extra={"lived_seconds": round(lived_seconds, 1), "pause_seconds": pause_seconds},
            )
            if self._stopping.wait(pause_seconds):
                return
            pause_seconds = min(2 * pause_seconds, _PAUSE_SECONDS_MAX)
            self._start_again()
            started = time.monotonic()

    def _start_again(self) -> None:
        try:
            self._server.start_again()
        except (EmbeddedPostgresError, OSError) as error:
            logger.error("the embedded PostgreSQL cannot be started", extra={"reason": str(error)})  # noqa: TRY400 - its sentence
        else:
            logger.warning("the embedded PostgreSQL runs again")
