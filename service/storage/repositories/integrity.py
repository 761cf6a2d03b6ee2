"""Named queries that verify a ledger: the next slice of it, and what breaks a rule there."""

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from service.domain.integrity import Finding, Scope
from service.storage.database import Session
from service.storage.integrity import Rule

FINDINGS_MAX = 100
"""How many rows that break one rule are read of one slice."""
CHANGES_MAX = 1_000
"""How many changes the accounts of a slice have together, unless it is one account that has more."""
_LOCK_KEY = 0x766572696679  # "verify"
_ALWAYS = datetime.min.replace(tzinfo=UTC)

_ROWS = """
    SELECT id::text, number, found, 0 AS changes FROM (
        SELECT id, row_number() OVER (ORDER BY id) AS number, count(*) OVER () AS found FROM (
            SELECT id FROM funds.{table}
            WHERE ledger_id = $1::integer AND id > $2::text::uuid AND {condition} ORDER BY id LIMIT $4::integer
        ) AS row
    ) AS slice ORDER BY number DESC LIMIT 1
"""
_NEXT = {
    Scope.ACCOUNTS: """
        SELECT id::text, number, found, changes FROM (
            SELECT id, row_number() OVER (ORDER BY id) AS number, count(*) OVER () AS found,
                   sum(version) OVER (ORDER BY id) AS changes
            FROM (
                SELECT id, version FROM funds.accounts
                WHERE ledger_id = $1::integer AND id > $2::text::uuid AND updated_at >= $3::timestamptz
                ORDER BY id LIMIT $4::integer
            ) AS row
        ) AS slice WHERE number = 1 OR changes <= $5::integer ORDER BY number DESC LIMIT 1
    """,
    Scope.TRANSFERS: _ROWS.format(table="transfers", condition="created_at >= $3::timestamptz"),
    Scope.HOLDS: _ROWS.format(
        table="holds", condition="(status = 'open' OR created_at >= $3::timestamptz OR closed_at >= $3::timestamptz)"
    ),
    Scope.HISTORY: _ROWS.format(table="history", condition="created_at >= $3::timestamptz"),
    Scope.DECISIONS: """
        SELECT client_id, idempotency_key, number, found, 0 AS changes FROM (
            SELECT client_id, idempotency_key, row_number() OVER (ORDER BY client_id, idempotency_key) AS number,
                   count(*) OVER () AS found
            FROM (
                SELECT client_id, idempotency_key FROM funds.decisions
                WHERE ledger_id = $1::integer AND (client_id, idempotency_key) > ($2::text, $3::text)
                  AND created_at >= $4::timestamptz
                ORDER BY client_id, idempotency_key LIMIT $5::integer
            ) AS row
        ) AS slice ORDER BY number DESC LIMIT 1
    """,
}
_BEFORE_NEWEST = """
    SELECT min(id::text), count(*) FROM (
        SELECT id FROM funds.{table} WHERE ledger_id = $1::integer ORDER BY id DESC LIMIT $2::integer + 1
    ) AS newest
"""
_PLANS = """
    SELECT set_config('enable_seqscan', $1, true), set_config('enable_hashjoin', $1, true),
           set_config('enable_mergejoin', $1, true)
"""
_ALL_ROWS = """
    SELECT (SELECT count(*) FROM funds.accounts WHERE ledger_id = $1::integer AND updated_at >= $2::timestamptz)
         + (SELECT count(*) FROM funds.transfers WHERE ledger_id = $1::integer AND created_at >= $2::timestamptz)
         + (SELECT count(*) FROM funds.holds WHERE ledger_id = $1::integer
            AND (status = 'open' OR created_at >= $2::timestamptz OR closed_at >= $2::timestamptz))
         + (SELECT count(*) FROM funds.history WHERE ledger_id = $1::integer AND created_at >= $2::timestamptz)
         + (SELECT count(*) FROM funds.decisions WHERE ledger_id = $1::integer AND created_at >= $2::timestamptz)
"""


class Slice(Struct, frozen=True):
    """Rows of one table of a ledger: after the key ``after``, up to the key ``to``. None come after a complete one.
    ``changes`` is how many changes its accounts have.
    """

    after: tuple[str, ...]
    to: tuple[str, ...]
    rows: int
    complete: bool
    changes: int = 0


class IntegrityRepository:
    """Verifies ledgers on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def plan_slices(self, *, slices: bool) -> None:
        """Let the planner look up the rows of a slice by indexes, until the transaction ends or ``slices`` is False:
        by the statistics of a table that grows it may take a slice for the whole table.
        """
        await self._fetch(_PLANS, "off" if slices else "on")

    async def rows(self, ledger_id: int, since: datetime | None) -> int:
        """Return how many rows there are to look at. It counts them, which takes long where there are many."""
        [row] = await self._fetch(_ALL_ROWS, ledger_id, since or _ALWAYS)
        return int(row[0])

    async def next_slice(
        self,
        scope: Scope,
        ledger_id: int,
        after: tuple[str, ...],
        *,
        since: datetime | None,
        rows_max: int,
        changes_max: int = CHANGES_MAX,
    ) -> Slice:
        """Return the slice of up to ``rows_max`` rows that follows ``after``: of those made or changed since ``since``,
        and all others between them. Accounts have no more than ``changes_max`` changes together, unless it is one.
        """
        limits = (rows_max, changes_max) if scope is Scope.ACCOUNTS else (rows_max,)
        found = await self._fetch(_NEXT[scope], ledger_id, *after, since or _ALWAYS, *limits)
        if not found:
            return Slice(after, scope.last or after, 0, complete=True)
        [(*key, number, read, changes)] = found
        complete = number == read < rows_max
        to = (scope.last if complete else None) or tuple(key)
        return Slice(after, to, number, complete=complete, changes=int(changes))

    async def newest_slice(self, scope: Scope, ledger_id: int, *, rows_max: int) -> Slice:
        """Return the slice of the newest ``rows_max`` transfers, holds or entries."""
        [(after, rows)] = await self._fetch(_BEFORE_NEWEST.format(table=scope.value), ledger_id, rows_max)
        last = scope.last
        assert last is not None, "tables whose identifiers rise"
        return Slice((after,) if after and rows > rows_max else scope.first, last, min(rows, rows_max), complete=True)

    async def findings(
        self, rule: Rule, ledger_id: int, part: Slice | None, *, since: datetime | None
    ) -> list[Finding]:
        """Return what breaks ``rule`` in ``part`` of a ledger (None: a rule of the whole ledger), FINDINGS_MAX rows at
        most.
        """
        bounds: tuple[Any, ...] = () if part is None else (*part.after, *part.to, since or _ALWAYS)
        query = f'SELECT "table", id, wrong FROM ({rule.query}) AS found LIMIT {FINDINGS_MAX}'  # noqa: S608
        return [Finding(rule.name, *row) for row in await self._fetch(query, ledger_id, *bounds)]

    async def claim(self) -> bool:
        """Return whether this connection is the one that verifies, which it stays until it is closed: of all instances
        of the service, one verifies at a time.
        """
        [(claimed,)] = await self._fetch("SELECT pg_try_advisory_lock($1::bigint)", _LOCK_KEY)
        return bool(claimed)

    async def _fetch(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        connection = await self._session.connection()
        return [tuple(row) for row in await connection.exec_driver_sql(query, parameters)]
