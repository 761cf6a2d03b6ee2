"""The main function of a worker process of ``funds serve``."""

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence

import uvloop

from service.console.links import SignInLink
from service.errors import OperatorError
from service.server.workers import stop_with_parent
from service.settings import Settings
from service.storage.errors import classify, reason
from service.telemetry.cells import Rows, adopt
from service.telemetry.logs import configure_logging

logger = logging.getLogger(__name__)

_PARENT_POLL_SECONDS = 0.2

# Young objects are collected less often than by default (700, 10, 10): under load they would be searched while hundreds
# of requests still use them, which costs 20 of the 79 µs of a transfer (measured).
_GARBAGE_OBJECTS = 20_000
_GARBAGE_ROUNDS = 20


def run_worker(
    listeners: Sequence[socket.socket],
    operations_listeners: Sequence[socket.socket],
    rows: Rows | None,
    sign_in_link: SignInLink | None,
    number: int,
) -> None:
    """Serve on the sockets until SIGTERM, with the settings from the environment. Metrics go to the row ``number`` of
    ``rows``, which all workers share, and one of them uses ``sign_in_link``.

    The worker leaves the terminal's process group, so that Ctrl-C reaches the main process only, which then stops the
    worker. The worker also stops when the main process has ended (was killed), so that a new one can use port and data.
    """
    # Before the application is loaded: nothing of it is garbage, and looking for some would take a sixth of the start.
    gc.set_threshold(_GARBAGE_OBJECTS, _GARBAGE_ROUNDS, _GARBAGE_ROUNDS)
    from service.app import serve  # noqa: PLC0415 - the main process imports this module and needs no application

    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=stop_with_parent, args=(_PARENT_POLL_SECONDS,), daemon=True, name="parent-watch").start()
    settings = Settings.from_environment()
    configure_logging(settings.log_level)
    if rows is not None:
        adopt(rows, number)
    try:
        uvloop.run(
            serve(
                settings,
                listeners,
                operations_listeners,
                ready=_exclude_from_garbage_collection,
                sign_in_link=sign_in_link,
            )
        )
    except Exception as error:
        cause = _single_cause(error)
        if isinstance(cause, OperatorError):
            sys.exit(f"The worker cannot start: {cause}")
        if classify(cause) is not None:
            sys.exit(f"The worker cannot start without the database: {reason(cause)}.")
        # Logged and not raised: multiprocessing writes what its processes raise without calling sys.excepthook.
        logger.critical("the worker failed", exc_info=True)
        sys.exit(1)


def _single_cause(error: Exception) -> Exception:
    """Return the only error in an exception group, or ``error`` itself. The application starts in a task group, which
    raises such groups.
    """
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _exclude_from_garbage_collection() -> None:
    """Exclude the objects that live as long as the worker from garbage collection.

    Otherwise each full collection would stop every request for 70 to 90 ms, about twice a second under load. Nothing is
    collected before: of 130,000 objects two thousand would be (measured), and looking for them takes as long.
    """
    gc.freeze()
