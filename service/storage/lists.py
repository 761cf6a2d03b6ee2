"""Building blocks of the queries for lists, which read an index in its order, and no further than the page needs."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from msgspec import Struct
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Executable,
    Integer,
    Select,
    TableValuedAlias,
    Text,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

R = TypeVar("R")

ListOrder = Literal["desc", "asc"]
"""Whether a list falls or rises along its columns. What rises along identifiers begins with what is oldest."""

Slices = AsyncGenerator[Sequence[R], None]
"""A list as it is read: a slice of its rows at a time."""

ROWS_AT_ONCE = 50
"""How many rows of a list are in memory at a time. A row may hold 100 KB."""

ENTRIES_SCANNED_MAX = 1_000
"""How many entries of an index are read for one page at most, when no index fits the filters exactly."""

LIMIT = bindparam("limit", type_=Integer)


class ScanEnd(Struct, frozen=True):
    """Marks in a list that its scan ended after ENTRIES_SCANNED_MAX entries; ``position`` is that of the last one."""

    position: Any


def ordered(column: ColumnElement[Any], order: ListOrder) -> ColumnElement[Any]:
    """Return ``column`` as an ORDER BY has it."""
    return column.asc() if order == "asc" else column.desc()


def behind(column: ColumnElement[Any], position: ColumnElement[Any], order: ListOrder) -> ColumnElement[bool]:
    """Return the condition that ``column`` comes after ``position`` in a list of that order."""
    return column > position if order == "asc" else column < position


def only(column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that ``column`` is ``value``, written so that the planner uses an index on the column.

    By its statistics, the planner may expect that a value is common. It then reads another index, which has the list's
    order, until it has found enough rows: for a rare value that is the whole table. So a subquery hides the value from
    the planner, and two more conditions, which are always true with the first, make it expect few rows.
    """
    hidden = select(value).scalar_subquery()
    return and_(column == hidden, column >= hidden, column <= hidden)


def merged(
    branches: Sequence[Select[Any]],
    names: Sequence[str],
    order: ListOrder,
    *,
    limit: ColumnElement[int] | int = LIMIT,
) -> Select[Any]:
    """Return a query for the rows of all ``branches``, in ``order`` of the columns called ``names``, ``limit`` at most.

    Each branch must be in that order. No more rows of a branch are read than the answer can need.
    """
    [first, *more] = [branch.limit(limit).subquery() for branch in branches]
    either = union_all(select(first), *(select(branch) for branch in more)).subquery()
    return select(either).order_by(*(ordered(either.c[name], order) for name in names)).limit(limit)


def sifted(scan: Select[Any], condition: Any, order: ListOrder, names: Sequence[str] = ("id",)) -> Select[Any]:
    """Return a query for those of the first ENTRIES_SCANNED_MAX rows of ``scan`` for which ``condition(row)`` is true,
    in ``order`` of the columns called ``names``, which is that of the scan.

    Each row has a column ``matches``, the value of the condition, and a column ``place``, its number in the scan. The
    last row of the scan is returned even if it does not match, because the next page begins after it. The LIMIT inside
    keeps the planner from using the condition to choose another index than that of ``scan``.
    """
    looked_at = scan.limit(ENTRIES_SCANNED_MAX).subquery()
    row = select(looked_at, func.row_number().over().label("place")).subquery()
    row = select(row, condition(row).label("matches")).subquery()
    return (
        select(row)
        .where(or_(row.c.matches, row.c.place == ENTRIES_SCANNED_MAX))
        .order_by(*(ordered(row.c[name], order) for name in names))
        .limit(LIMIT)
    )


def matching(rows: Iterable[Any], make: Callable[[Any], R], position: Callable[[R], Any]) -> list[R | ScanEnd]:
    """Return what ``make`` makes of those rows of a query that is ``sifted`` which match, and where the scan ended, if
    it did: at the ``position`` of what its last row makes.
    """
    found: list[R | ScanEnd] = []
    for row in rows:
        made = make(row)
        if row.matches:
            found.append(made)
        if row.place == ENTRIES_SCANNED_MAX:
            found.append(ScanEnd(position(made)))
    return found


def each_of(values: Iterable[str]) -> TableValuedAlias:
    """Return a table with one column ``value`` that holds ``values``.

    Joined to a LATERAL subquery with LIMIT 1, it leaves the planner only one plan: a look-up for each value. `= ANY`
    may become a filter on all rows of a ledger or a client, when there are few statistics of the table.
    """
    return func.unnest(literal(list(values), ARRAY(Text))).table_valued("value", name="wanted").render_derived()


async def slices(session: AsyncSession, query: Executable, parameters: Mapping[str, Any]) -> Slices[Any]:
    """Yield the rows of ``query``, ROWS_AT_ONCE at most at a time. The query's parameter ``limit`` bounds it."""
    if parameters["limit"] <= ROWS_AT_ONCE:
        yield (await session.execute(query, parameters)).all()
        return
    async for rows in streamed(session, query, parameters, ROWS_AT_ONCE):
        yield rows


async def streamed(
    session: AsyncSession, query: Executable, parameters: Mapping[str, Any], rows_at_once: int
) -> Slices[Any]:
    """Yield all rows of ``query``, ``rows_at_once`` at most at a time, from a cursor of the server."""
    # Not yield_per, which SQLAlchemy knows for its own expressions alone: the rows of a text would come at once.
    options = {"stream_results": True, "max_row_buffer": rows_at_once}
    result = await session.stream(query, parameters, execution_options=options)
    try:
        async for rows in result.partitions(rows_at_once):
            yield rows
    finally:
        await result.close()
