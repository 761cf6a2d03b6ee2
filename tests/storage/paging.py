"""Reading a list page by page, and seeing what a query costs."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from sqlalchemy import event

from service.storage.database import Database
from service.storage.lists import ListOrder, Slices

T = TypeVar("T")

PAGES_MAX = 1_000

in_either_order = pytest.mark.parametrize("order", ["desc", "asc"])


def ordered(falling: Sequence[T], order: ListOrder) -> list[T]:
    """``falling`` as a list of that order has it."""
    return list(falling) if order == "desc" else list(reversed(falling))


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
    """Yield a list of the statements, with parameters, that ``database`` sends through SQLAlchemy from now on."""
    sent: list[tuple[str, tuple[Any, ...]]] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2:4])

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Yield a list of the statements that ``database`` sends through SQLAlchemy from now on."""
    texts: list[str] = []
    with queries(database) as sent:
        yield texts
        texts += [statement for statement, _ in sent]
