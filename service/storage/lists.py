"""How lists are read: in the order of an index, no further than was asked for, a slice of rows at a time."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from sqlalchemy import (
    ARRAY,
    ColumnElement,
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

Slices = AsyncGenerator[Sequence[R], None]
"""A list as it is read: some of its rows at a time."""

ROWS_AT_ONCE = 50
"""How many rows of a list are in memory before they are answered: a row may hold 100 KB."""

ENTRIES_SCANNED_MAX = 1_000
"""How many entries of an index one page looks through, when no index has just what the filters ask for."""

LIMIT = bindparam("limit", type_=Integer)


class ScanEnd(Struct, frozen=True):
    """Stands in a list where its scan ended because it had looked at enough entries: ``position`` is the last one's."""

    position: Any


def only(column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that ``column`` is ``value``, so said that an index on the column is the way to it.

    Left to its statistics, the planner may think a value common and walk another index that is in the list's order,
    until it has met enough rows; for a value that is rare that is the whole table. So it is not shown the value
    (a subquery), and two more conditions, which say the same as the first, make it expect few rows.
    """
    hidden = select(value).scalar_subquery()
    return and_(column == hidden, column >= hidden, column <= hidden)


def merged(branches: Sequence[Select[Any]], order: Sequence[str]) -> Select[Any]:
    """Return the rows of all ``branches``, each of which is in the falling ``order`` of its columns and bounded by
    LIMIT: no more is read of any branch than the answer takes.
    """
    [first, *more] = [branch.limit(LIMIT).subquery() for branch in branches]
    either = union_all(select(first), *(select(branch) for branch in more)).subquery()
    return select(either).order_by(*(either.c[name].desc() for name in order)).limit(LIMIT)


def sifted(scan: Select[Any], condition: Any) -> Select[Any]:
    """Return those of the first ENTRIES_SCANNED_MAX rows of ``scan`` for which ``condition(row)`` holds.

    Each row says so itself (``matches``) and has its ``place``: the last row that was looked at comes in any case, for
    the list goes on behind it. The LIMIT inside keeps the condition from choosing another way than that of ``scan``.
    """
    looked_at = scan.limit(ENTRIES_SCANNED_MAX).subquery()
    row = select(looked_at, func.row_number().over().label("place")).subquery()
    matches: ColumnElement[bool] = condition(row)
    return (
        select(row, matches.label("matches"))
        .where(or_(matches, row.c.place == ENTRIES_SCANNED_MAX))
        .order_by(row.c.id.desc())
        .limit(LIMIT)
    )


def each_of(values: Iterable[str]) -> TableValuedAlias:
    """Return a table of ``values`` in its column ``value``.

    Joined to a LATERAL with LIMIT 1, it leaves the planner one way, a look-up for each value. `= ANY` does not: it may
    become a filter on all rows of a ledger or a client, if little is known of the table.
    """
    return func.unnest(literal(list(values), ARRAY(Text))).table_valued("value", name="wanted").render_derived()


async def slices(session: AsyncSession, query: Select[Any], parameters: Mapping[str, Any]) -> Slices[Any]:
    """Yield the rows of ``query``, ROWS_AT_ONCE at most at a time. The query's parameter ``limit`` bounds it."""
    if parameters["limit"] <= ROWS_AT_ONCE:
        yield (await session.execute(query, parameters)).all()
        return
    result = await session.stream(query, parameters, execution_options={"yield_per": ROWS_AT_ONCE})
    try:
        async for rows in result.partitions():
            yield rows
    finally:
        await result.close()
