"""Cleaning up after a process that was killed: another one waits for its end and does it."""

import os
import signal
from collections.abc import Callable


def guard(remove: Callable[[], None]) -> None:
    """Have ``remove`` called in a process of its own once this one has ended, in whatever way.

    Forks, and so must be called before there are threads. The other process notices the end by a pipe whose writing
    side only this one has: the system closes it. Ctrl-C and what else ends a process group does not reach it.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(reader)
        return
    try:
        os.close(writer)
        os.setsid()
        for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)  # whoever reads what the test server prints must see its end
        os.read(reader, 1)
        remove()
    finally:
        os._exit(0)
