"""Named queries on a ledger as a whole. What each costs does not grow with the ledger."""

from typing import Any

from sqlalchemy import ScalarSelect, Select, and_, func, select, union_all

from service.domain.accounts import AccountStatus
from service.domain.overview import COUNTED_MAX, BusyAccount, CurrencyTotals
from service.storage.database import Session
from service.storage.rows import AccountRow, TransferRow

_BUSIEST_ACCOUNTS = 10
_BUSY_TRANSFERS = 1_000
"""Among how many of the latest transfers the busiest accounts are looked for."""


class OverviewRepository:
    """Counts and sums on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def account_counts(self, ledger_id: int) -> dict[str, int]:
        """Return how many accounts have each status, COUNTED_MAX at most; without those that none has."""
        counts = [
            _counted(select(AccountRow.id).where(AccountRow.ledger_id == ledger_id, AccountRow.status == status)).label(
                status
            )
            for status in map(str, AccountStatus)
        ]
        row = (await self._session.execute(select(*counts))).one()
        return {status: count for status, count in row._asdict().items() if count}

    async def transfer_count(self, ledger_id: int) -> int:
        """Return how many transfers there are, COUNTED_MAX at most."""
        counted = _counted(select(TransferRow.id).where(TransferRow.ledger_id == ledger_id))
        return (await self._session.scalars(select(counted))).one()

    async def totals(self, ledger_id: int) -> list[CurrencyTotals] | None:
        """Return the sums of all accounts by currency; None when there are COUNTED_MAX accounts or more."""
        counters = (AccountRow.currency, AccountRow.debits_posted, AccountRow.credits_posted)
        account = select(*counters).where(AccountRow.ledger_id == ledger_id).limit(COUNTED_MAX).subquery().c
        query = (
            select(account.currency, func.count(), func.sum(account.debits_posted), func.sum(account.credits_posted))
            .group_by(account.currency)
            .order_by(account.currency)
        )
        totals = [
            CurrencyTotals(
                currency=currency, account_count=count, debits_posted=str(debit_sum), credits_posted=str(credit_sum)
            )
            for currency, count, debit_sum, credit_sum in await self._session.execute(query)
        ]
        return totals if sum(total.account_count for total in totals) < COUNTED_MAX else None

    async def busiest_accounts(self, ledger_id: int) -> list[BusyAccount]:
        """Return the accounts that most of the latest transfers move, the busiest first."""
        sides = (TransferRow.debit_account_id, TransferRow.credit_account_id)
        latest = (
            select(*sides)
            .where(TransferRow.ledger_id == ledger_id)
            .order_by(TransferRow.id.desc())
            .limit(_BUSY_TRANSFERS)
        )
        row = latest.cte().c
        moved = union_all(select(row.debit_account_id.label("id")), select(row.credit_account_id)).subquery()
        count = func.count().label("recent_transfer_count")
        busiest = (
            select(moved.c.id, count).group_by(moved.c.id).order_by(count.desc(), moved.c.id).limit(_BUSIEST_ACCOUNTS)
        ).subquery()
        query = (
            select(
                AccountRow.id,
                AccountRow.reference,
                AccountRow.name,
                AccountRow.version,
                busiest.c.recent_transfer_count,
            )
            .join(busiest, and_(AccountRow.ledger_id == ledger_id, AccountRow.id == busiest.c.id))
            .order_by(busiest.c.recent_transfer_count.desc(), AccountRow.id)
        )
        return [BusyAccount(**found._asdict()) for found in await self._session.execute(query)]


def _counted(rows: Select[Any]) -> ScalarSelect[int]:
    """Return the number of ``rows``, COUNTED_MAX at most."""
    return select(func.count()).select_from(rows.limit(COUNTED_MAX).subquery()).scalar_subquery()
