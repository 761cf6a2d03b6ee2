"""What runs in a worker process of ``funds serve``."""

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence

import uvloop

from service.server.workers import leave_with_parent
from service.settings import Settings
from service.storage.errors import StorageError, classify, reason
from service.storage.migrations import SchemaBehindError
from service.telemetry.logs import configure_logging

logger = logging.getLogger(__name__)

_PARENT_POLL_SECONDS = 0.2

_GARBAGE_OBJECTS = 20_000
_GARBAGE_ROUNDS = 20


def run_worker(listeners: Sequence[socket.socket], operations_listeners: Sequence[socket.socket]) -> None:
    """Serve on the sockets until SIGTERM; settings come through the environment.

    The worker leaves the terminal's process group, so that Ctrl-C reaches the main process only, which then drains it;
    and it drains by itself when the main process is gone (killed), so that port and data are free for the next.
    """
    from service.app import serve  # noqa: PLC0415 - the commands import this module and need no application

    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=leave_with_parent, args=(_PARENT_POLL_SECONDS,), daemon=True, name="parent-watch").start()
    settings = Settings.from_environment()
    configure_logging(settings.log_level)
    try:
        uvloop.run(serve(settings, listeners, operations_listeners, ready=_settle_garbage))
    except Exception as error:
        cause = _alone(error)
        if isinstance(cause, (SchemaBehindError, StorageError)):
            sys.exit(f"The worker cannot start: {cause}")
        if classify(cause) is not None:
            sys.exit(f"The worker cannot start without the database: {reason(cause)}.")
        # Logged, not raised: what a process of multiprocessing raises is written past sys.excepthook.
        logger.critical("the worker failed", exc_info=True)
        sys.exit(1)


def _alone(error: Exception) -> Exception:
    """Return what the groups that hold ``error`` hold: the application's start is a task of such a group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _settle_garbage() -> None:
    """Take what lives as long as the worker out of the search for garbage: each full collection would stop every
    request for 70 to 90 ms, about twice a second under load. And at the usual threshold of 700 objects, young ones are
    searched while hundreds of requests still hold them: 20 of 79 µs a transfer (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_OBJECTS, _GARBAGE_ROUNDS, _GARBAGE_ROUNDS)
