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

from service.errors import OperatorError
from service.server.workers import stop_with_parent
from service.settings import Settings
from service.storage.errors import classify, reason
from service.telemetry.cells import Rows, adopt
from service.telemetry.logs import configure_logging

logger = logging.getLogger(__name__)

_PARENT_POLL_SECONDS = 0.2

_GARBAGE_OBJECTS = 20_000
_GARBAGE_ROUNDS = 20


def run_worker(
    listeners: Sequence[socket.socket], operations_listeners: Sequence[socket.socket], rows: Rows | None, number: int
) -> None:
    """Serve on the sockets until SIGTERM, with the settings from the environment. Metrics go to the row ``number`` of
    ``rows``, which all workers share.

    The worker leaves the terminal's process group, so that Ctrl-C reaches the main process only, which then stops the
    worker. The worker also stops when the main process has ended (was killed), so that a new one can use port and data.
    """
    from service.app import serve  # noqa: PLC0415 - the commands import this module and need no application

    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=stop_with_parent, args=(_PARENT_POLL_SECONDS,), daemon=True, name="parent-watch").start()
    settings = Settings.from_environment()
    configure_logging(settings.log_level)
    if rows is not None:
        adopt(rows, number)
    try:
        uvloop.run(serve(settings, listeners, operations_listeners, ready=_tune_garbage_collection))
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


def _tune_garbage_collection() -> None:
    """Exclude the objects that live as long as the worker from garbage collection, and collect young ones less often.

    Otherwise each full collection would stop every request for 70 to 90 ms, about twice a second under load. With the
    usual threshold of 700 objects, young objects are searched while hundreds of requests still use them, which costs 20
    of the 79 µs of a transfer (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_OBJECTS, _GARBAGE_ROUNDS, _GARBAGE_ROUNDS)
