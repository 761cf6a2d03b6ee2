"""Statements on several ledgers, which say of each table by which ledgers it is read where tables are distributed.

There (Citus) a table that is joined by the ledger of another one is asked on every node, unless its own ledgers are
named, too. Elsewhere PostgreSQL would try each of them for each row.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import ARRAY, Integer, TextClause, bindparam, text

from service.storage.database import Session
from service.storage.group_commit.pipeline import is_distributed
from service.storage.retries import allow_another_step

_LEDGERS_AT_ONCE = 100
"""How many ledgers a statement names where tables are distributed: each of them is tried for each."""


class OfLedgers:
    """A statement on the ledgers of ``:ledger_ids``. ``sql`` has each of ``tables``, in braces, where the table's own
    ledgers may be named behind other conditions.
    """

    def __init__(self, sql: str, tables: Sequence[str]) -> None:
        self.together = _statement(sql, dict.fromkeys(tables, ""))
        self.distributed = _statement(sql, {table: f"AND {table}.ledger_id = ANY(:ledger_ids)" for table in tables})


async def rows_of_ledgers(
    session: Session, statement: OfLedgers, ledger_ids: Sequence[int], **parameters: Any
) -> AsyncIterator[Any]:
    """Yield the rows of ``statement`` on ``ledger_ids``, within an attempt that may take many steps."""
    if await is_distributed(session):
        query, at_once = statement.distributed, _LEDGERS_AT_ONCE
    else:
        query, at_once = statement.together, len(ledger_ids) or 1
    for begin in range(0, len(ledger_ids), at_once):
        named = {"ledger_ids": list(ledger_ids[begin : begin + at_once])}
        for row in await session.execute(query, named | parameters):
            yield row
        if begin + at_once < len(ledger_ids):
            allow_another_step()


def _statement(sql: str, conditions: dict[str, str]) -> TextClause:
    return text(sql.format(**conditions)).bindparams(bindparam("ledger_ids", type_=ARRAY(Integer)))
