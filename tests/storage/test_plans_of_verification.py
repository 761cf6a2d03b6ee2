"""How many rows a slice of a verification looks at in a ledger of a million transfers: never all of a table's.

Each rule is asked as a pass asks it, on tables that were just filled and on tables with statistics.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from service.audit.integrity import ALL_RULES, SLICE_ROWS_MAX
from service.domain.integrity import Scope
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.repositories import Repositories
from service.storage.transactions import Mode, Transactions
from tests.storage.planner import outline
from tests.support.million_transfers import ACCOUNTS, HOLDS, REVISIONS, TRANSFERS, id_of
from tests.support.rows import MAIN
from tests.support.servers import TestDatabase

ROWS_MAX = 3_000
"""What a rule may look at for each row of a slice, at every step of its plan together: all the thousand times that a
period was closed, but not all entries of a history, of which there are hundreds of thousands.
"""

PLACES = {
    **{
        (scope, where): (str(id_of(number)),)
        for scope, count in (
            (Scope.ACCOUNTS, ACCOUNTS),
            (Scope.TRANSFERS, TRANSFERS),
            (Scope.HOLDS, HOLDS),
            (Scope.HISTORY, REVISIONS),
        )
        for where, number in (("middle", count // 2), ("end", count - 300))
    },
    (Scope.DECISIONS, "beginning"): Scope.DECISIONS.first,
    (Scope.DECISIONS, "middle"): ("client", "5"),
}
"""Where slices begin. The first accounts and holds are those that half of all transfers refer to."""


@pytest.fixture
async def transactions(million: TestDatabase) -> AsyncIterator[Transactions]:
    pool = Database.connect_verification(million.service_url, Settings(statement_timeout_ms=60_000))
    yield Transactions(pool, RetryLimits(1, 600.0), Mode.SNAPSHOT)
    await pool.close()


def rows_looked_at(node: dict[str, Any]) -> int:
    """The rows that came out of all steps of a plan, and those that were thrown away there."""
    thrown_away = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    own = node["Actual Rows"] + sum(node.get(name, 0) for name in thrown_away)
    return int(own * node["Actual Loops"]) + sum(map(rows_looked_at, node.get("Plans", [])))


async def plans(session: Session, scope: Scope, after: tuple[str, ...]) -> tuple[int, dict[str, dict[str, Any]]]:
    """Ask the rules of the slice behind ``after``; return its rows, and how each rule was carried out."""
    repository = Repositories(session).integrity
    await repository.plan_slices(slices=True)
    part = await repository.next_slice(scope, MAIN, after, since=None, rows_max=SLICE_ROWS_MAX)
    bounds = (MAIN, *part.after, *part.to, datetime.min.replace(tzinfo=UTC))
    connection = await session.connection()
    found = {}
    for rule in ALL_RULES:
        if rule.scope is scope:
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {rule.query}"
            [explained] = (await connection.exec_driver_sql(explain, bounds)).scalar_one()
            found[rule.name] = explained["Plan"]
    return part.rows, found


@pytest.mark.parametrize(("scope", "where"), PLACES, ids=str)
async def test_a_slice_looks_at_its_own_rows(scope: Scope, where: str, transactions: Transactions) -> None:
    rows, found = await transactions.run_once(lambda session: plans(session, scope, PLACES[scope, where]))
    assert found
    for name, plan in found.items():
        looked_at = rows_looked_at(plan)
        assert looked_at <= ROWS_MAX * (rows + 10), f"{name}, {looked_at} of a slice of {rows}:\n{outline(plan)}"
