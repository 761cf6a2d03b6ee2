"""Reading a list page by page, and seeing what a query costs."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import event

from service.storage.database import Database
from service.storage.lists import Slices

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


async def rows_of(slices: Slices[T]) -> list[T]:
    """All rows of a list that is read in slices."""
    return [row async for rows in slices for row in rows]


@contextmanager
def queries(database: Database) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """The statements with their parameters that ``database`` sends through SQLAlchemy meanwhile."""
    sent: list[tuple[str, tuple[Any, ...]]] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2:4])

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The statements that ``database`` sends through SQLAlchemy meanwhile."""
    texts: list[str] = []
    with queries(database) as sent:
        yield texts
        texts += [statement for statement, _ in sent]
