"""Numbers that the worker processes of a service keep in memory that they share, each in a row of its own.

Whoever reads sees the rows of all. A worker that replaces another one goes on in its row, so that no count is lost;
what was true of the other one alone is cleared. A number is one write of eight bytes, which is never seen half done,
and every row has one writer: nothing is locked.
"""

import mmap
import os
import tempfile
from typing import Any, Self

CELLS_MAX = 1 << 20
"""Numbers in a row. Only those that were written take memory."""
GAUGE_CELLS = 1 << 10
"""Those at the beginning of a row, which say what is true while a process runs."""
_CELL_BYTES = 8
_ROW_BYTES = CELLS_MAX * _CELL_BYTES


class Rows:
    """``count`` rows of numbers, in a file without a name. Processes that this one starts can be given them."""

    def __init__(self, count: int, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, count * _ROW_BYTES)
        cells = memoryview(self._memory).cast("d")
        self.cells = [cells[number * CELLS_MAX : (number + 1) * CELLS_MAX] for number in range(count)]

    @classmethod
    def make(cls, count: int) -> Self:
        """Make rows of zeros."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("funds-metrics")
        else:  # not Linux: a file on the disk, whose pages may be slow to write
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.truncate(descriptor, count * _ROW_BYTES)
        return cls(count, descriptor)

    def __reduce__(self) -> Any:
        """Hand the rows to a process that is being started."""
        from multiprocessing.reduction import DupFd  # noqa: PLC0415 - most commands count and start no process

        return _attach, (len(self.cells), DupFd(self._descriptor))


def _attach(count: int, descriptor: Any) -> Rows:
    return Rows(count, descriptor.detach())


class Own:
    """The row that this process writes, and all the rows that it reads.

    Until it is given rows that are shared, a process has one to itself.
    """

    def __init__(self) -> None:
        self.rows = [memoryview(mmap.mmap(-1, _ROW_BYTES)).cast("d")]
        self.cells = self.rows[0]


own = Own()


class Space:
    """Gives parts of a row to metrics, in the order in which they ask. All processes that share rows must have them ask
    in the same order, as those do that run the same program.
    """

    def __init__(self, first: int, end: int) -> None:
        self._next, self._end = first, end

    def take(self, count: int) -> int:
        """Return the first of ``count`` cells that nothing else uses."""
        first, self._next = self._next, self._next + count
        assert self._next <= self._end, "more is counted than a row has room for"
        return first


of_now = Space(0, GAUGE_CELLS)
"""For what is true while a process runs."""
for_ever = Space(GAUGE_CELLS, CELLS_MAX)
"""For what is counted."""


def adopt(rows: Rows, number: int) -> None:
    """Write to the row ``number`` of ``rows`` from now on, and read all of them."""
    clear_gauges(rows, number)
    own.rows, own.cells = rows.cells, rows.cells[number]


def clear_gauges(rows: Rows, number: int) -> None:
    """Forget what was true of the process that wrote the row ``number``, which has ended."""
    rows.cells[number][:GAUGE_CELLS] = memoryview(bytes(GAUGE_CELLS * _CELL_BYTES)).cast("d")
