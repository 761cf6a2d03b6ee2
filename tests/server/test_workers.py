"""Worker processes have numbers: one that replaces another has its number, and its end is told before."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from service.server.workers import Workers

COUNT = 2


def stay(folder: Path, number: int) -> None:
    """Note the number and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    (folder / f"{number}.{os.getpid()}").touch()
    time.sleep(60)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_that_is_replaced_leaves_its_number(tmp_path: Path) -> None:
    def started() -> list[tuple[int, int]]:
        """Number and process of every worker that ever started."""
        names = (path.name.split(".") for path in tmp_path.iterdir())
        return sorted((int(number), int(pid)) for number, pid in names)

    told: list[tuple[int, int]] = []
    workers = Workers(stay, (tmp_path,), count=COUNT, ended=lambda number: told.append((number, len(started()))))
    running = threading.Thread(
        target=lambda: workers.run(drain_delay_seconds=0, close_listeners=lambda: None, stop_seconds_max=30)
    )
    running.start()
    try:
        until(lambda: len(started()) == COUNT)
        for number in (1, 0):
            os.kill(dict(started())[number], signal.SIGKILL)
            until(lambda: [one for one, _ in started()].count(number) == 2)  # noqa: B023 - called before the next turn
    finally:
        workers.stop()
        running.join()
    assert told == [(1, COUNT), (0, COUNT + 1)], "each before another one has started"
