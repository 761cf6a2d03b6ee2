"""What runs in a worker process of ``funds serve`` before its first request."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

_PARENT_POLL_SECONDS = 0.2

_GARBAGE_OBJECTS = 20_000
_GARBAGE_ROUNDS = 20


def load_application() -> Callable[..., Any]:
    """Return the application of this worker; its settings come through the environment.

    The worker leaves the terminal's process group, so that Ctrl-C reaches the main process only, which then drains it;
    and it drains by itself when the main process is gone (killed), so that port and data are free for the next.
    """
    from service.app import create_app  # noqa: PLC0415 - the commands import this module and need no application

    os.setpgid(0, 0)
    threading.Thread(target=_stop_with_parent, args=(os.getppid(),), daemon=True, name="parent-watch").start()
    application = create_app()
    # What lives as long as the worker need not be searched for garbage again and again: each full collection would
    # stop every request for 70 to 90 ms, about twice a second under load. And at the usual threshold of 700 objects,
    # young ones are searched while hundreds of requests still hold them: 20 of 79 µs a transfer (measured).
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_OBJECTS, _GARBAGE_ROUNDS, _GARBAGE_ROUNDS)
    return application


def _stop_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
