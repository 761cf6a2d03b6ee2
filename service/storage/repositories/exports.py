"""Named queries for exports. Each reads as much of a ledger as there is, a slice at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text

from service.domain.exports import ExportedAccount, ExportedTransfer, Period
from service.domain.transfers import Transfer
from service.storage.database import Session
from service.storage.group_commit.statements import TRANSFER_COLUMNS
from service.storage.lists import Slices, streamed
from service.storage.rows import SCHEMA

_ROWS_AT_ONCE = 200

_ACCOUNTS = text(f"""
    SELECT account.id, account.reference, account.name, account.currency, account.normal_side, account.code,
           account.created_at, coalesce(moved.opening, 0), coalesce(moved.debits, 0), coalesce(moved.credits, 0)
    FROM {SCHEMA}.accounts AS account
    LEFT JOIN (
        SELECT account_id,
               sum(debit - credit) FILTER (WHERE effective_at < :start) AS opening,
               sum(debit) FILTER (WHERE effective_at >= :start) AS debits,
               sum(credit) FILTER (WHERE effective_at >= :start) AS credits
        FROM (
            SELECT debit_account_id AS account_id, amount AS debit, 0 AS credit, effective_at
            FROM {SCHEMA}.transfers
            WHERE ledger_id = :ledger_id AND effective_at < :end
            UNION ALL
            SELECT credit_account_id, 0, amount, effective_at
            FROM {SCHEMA}.transfers
            WHERE ledger_id = :ledger_id AND effective_at < :end
        ) AS side
        GROUP BY account_id
    ) AS moved ON moved.account_id = account.id
    WHERE account.ledger_id = :ledger_id
    ORDER BY account.id
""")  # noqa: S608 - names are this module's own

_IN_PERIOD = "transfer.ledger_id = :ledger_id AND transfer.effective_at >= :start AND transfer.effective_at < :end"
_SIDES = " ".join(
    f"JOIN {SCHEMA}.accounts AS {side} ON {side}.ledger_id = transfer.ledger_id"
    f" AND {side}.id = transfer.{side}_account_id"
    for side in ("debit", "credit")
)
_TRANSFERS = text(f"""
    SELECT {", ".join(f"transfer.{name}" for name in TRANSFER_COLUMNS)},
           debit.reference, debit.normal_side, credit.reference, credit.normal_side
    FROM {SCHEMA}.transfers AS transfer
    {_SIDES}
    WHERE {_IN_PERIOD}
    ORDER BY transfer.id
""")  # noqa: S608

_COUNT = text(f"SELECT count(*) FROM {SCHEMA}.transfers AS transfer WHERE {_IN_PERIOD}")  # noqa: S608
_SPAN = text(f"""
    SELECT min(effective_at), max(effective_at) FROM {SCHEMA}.transfers WHERE ledger_id = :ledger_id
""")  # noqa: S608
_CURRENCIES = text(f"""
    SELECT DISTINCT currency FROM {SCHEMA}.accounts WHERE ledger_id = :ledger_id ORDER BY currency
""")  # noqa: S608


class ExportRepository:
    """Reads all of a ledger, on the snapshot of one unit of work. What it costs grows with the ledger."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def span(self, ledger_id: int) -> tuple[datetime, datetime] | None:
        """Return the first and the last value date of the ledger; None where nothing was posted."""
        first, last = (await self._session.execute(_SPAN, {"ledger_id": ledger_id})).one()
        return None if first is None else (first, last)

    async def currencies(self, ledger_id: int) -> Sequence[str]:
        """Return the currencies of the ledger's accounts, in order."""
        return (await self._session.scalars(_CURRENCIES, {"ledger_id": ledger_id})).all()

    async def transfer_count(self, ledger_id: int, period: Period) -> int:
        """Return how many transfers have their value date in ``period``."""
        return int((await self._session.scalars(_COUNT, _parameters(ledger_id, period))).one())

    async def accounts(self, ledger_id: int, period: Period) -> Slices[ExportedAccount]:
        """Yield every account, with its balances around ``period``, in the order of identifiers."""
        async for rows in streamed(self._session, _ACCOUNTS, _parameters(ledger_id, period), _ROWS_AT_ONCE):
            yield [ExportedAccount(*row[:-3], *map(int, row[-3:])) for row in rows]

    async def transfers(self, ledger_id: int, period: Period) -> Slices[ExportedTransfer]:
        """Yield the transfers whose value date lies in ``period``, in the order in which they were recorded."""
        width = len(TRANSFER_COLUMNS)
        async for rows in streamed(self._session, _TRANSFERS, _parameters(ledger_id, period), _ROWS_AT_ONCE):
            yield [
                ExportedTransfer(Transfer(**dict(zip(TRANSFER_COLUMNS, row, strict=False))), *row[width:])
                for row in rows
            ]


def _parameters(ledger_id: int, period: Period) -> dict[str, Any]:
    return {"ledger_id": ledger_id, "start": period.start, "end": period.end}
