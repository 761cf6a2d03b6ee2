"""Pages of lists."""

from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True):
    """One page of a list, which may have fewer items than asked for, even none, and go on.

    `next_cursor` is null on the last page, and only there. In rising order (`order=asc`), in which what comes later
    stands behind the last page, that page has one too: the list has ended for now where a page without items repeats
    the cursor that was sent. Ledgers and codes are listed by name, to an end.
    """

    items: list[T]
    next_cursor: str | None
