"""Large sets of rows in parts: to encode or decode one takes no time that other requests would notice."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_ROWS_MAX = 2_000


def parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Divide ``rows``, in order."""
    return (rows[begin : begin + _ROWS_MAX] for begin in range(0, len(rows), _ROWS_MAX))
