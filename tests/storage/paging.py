"""Reading a list page by page, and seeing what a query costs."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import event

from service.storage.database import Database

T = TypeVar("T")

PAGES_MAX = 1_000


async def all_pages(page: Callable[[T | None], Awaitable[Sequence[T]]], limit: int) -> list[T]:
    """Read pages until one is not full; ``page`` is given the last item of the page before."""
    items: list[T] = []
    for _ in range(PAGES_MAX):
        latest = await page(items[-1] if items else None)
        assert len(latest) <= limit
        items += latest
        if len(latest) < limit:
            return items
    raise AssertionError("the list does not end")


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The statements that ``database`` sends through SQLAlchemy meanwhile."""
    sent: list[str] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2])

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
