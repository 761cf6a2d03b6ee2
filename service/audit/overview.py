"""A ledger at a glance, read by several sessions at once on one snapshot."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct
from sqlalchemy import ScalarSelect, Select, and_, func, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import transfers as domain
from service.storage.accounts import STATUSES
from service.storage.models import Account, Transfer
from service.storage.transfers import TransferRepository

T = TypeVar("T")

_LATEST_TRANSFERS = 10
_BUSIEST_ACCOUNTS = 10
_BUSY_TRANSFERS = 1_000
"""Among how many of the latest transfers the busiest accounts are looked for."""

COUNTED_MAX = 10_000
"""How far an overview counts transfers, and the accounts of one status."""


class CurrencyTotals(Struct, frozen=True, kw_only=True):
    """The sums of all accounts in one currency, in minor units. Debits and credits are equal in a sound ledger.

    The sums are arbitrarily large, so they travel as decimal strings.
    """

    currency: str
    account_count: int
    debits_posted: str
    credits_posted: str


class BusyAccount(Struct, frozen=True, kw_only=True):
    """An account by how many of the ledger's latest 1,000 transfers move it."""

    id: UUID
    reference: str | None
    name: str | None
    version: int
    recent_transfer_count: int


class Overview(Struct, frozen=True, kw_only=True):
    """What one snapshot of a ledger says. Each count is exact below COUNTED_MAX, and stays there above; ``totals`` is
    None when the accounts are more than were counted.
    """

    account_counts: dict[str, int]
    transfer_count: int
    totals: Sequence[CurrencyTotals] | None
    latest_transfers: Sequence[domain.Transfer]
    busiest_accounts: Sequence[BusyAccount]

    @property
    def account_counts_complete(self) -> bool:
        """Whether every account was counted."""
        return max(self.account_counts.values(), default=0) < COUNTED_MAX

    @property
    def transfer_count_complete(self) -> bool:
        """Whether every transfer was counted."""
        return self.transfer_count < COUNTED_MAX


async def read_overview(session: AsyncSession, ledger_id: int) -> Overview:
    """Return the overview of one ledger: five queries in parallel, a session each, all on the snapshot that ``session``
    exports. Its transaction must see one snapshot (a Reader of ``snapshots``); the other sessions are of its engine.
    """
    snapshot = (await session.scalars(select(func.pg_export_snapshot()))).one()

    async def there(query: Callable[[AsyncSession, int], Awaitable[T]]) -> T:
        async with AsyncSession(session.bind, expire_on_commit=False) as other, other.begin():
            # No parameters here: SET takes a literal. The name is PostgreSQL's own, hexadecimal digits and dashes.
            await other.execute(text(f"SET TRANSACTION SNAPSHOT '{snapshot}'"))
            return await query(other, ledger_id)

    counts, transfer_count, totals, latest, busiest = await asyncio.gather(
        there(_account_counts),
        there(_transfer_count),
        there(_totals),
        there(_latest_transfers),
        there(_busiest_accounts),
    )
    return Overview(
        account_counts=counts,
        transfer_count=transfer_count,
        totals=totals,
        latest_transfers=latest,
        busiest_accounts=busiest,
    )


async def _account_counts(session: AsyncSession, ledger_id: int) -> dict[str, int]:
    counts = [
        _counted(select(Account.id).where(Account.ledger_id == ledger_id, Account.status == status)).label(status)
        for status in STATUSES
    ]
    row = (await session.execute(select(*counts))).one()
    return {status: count for status, count in row._asdict().items() if count}


async def _transfer_count(session: AsyncSession, ledger_id: int) -> int:
    counted = _counted(select(Transfer.id).where(Transfer.ledger_id == ledger_id))
    return (await session.scalars(select(counted))).one()


def _counted(rows: Select[Any]) -> ScalarSelect[int]:
    """Return the number of ``rows``, COUNTED_MAX at most."""
    return select(func.count()).select_from(rows.limit(COUNTED_MAX).subquery()).scalar_subquery()


async def _totals(session: AsyncSession, ledger_id: int) -> list[CurrencyTotals] | None:
    counters = (Account.currency, Account.debits_posted, Account.credits_posted)
    account = select(*counters).where(Account.ledger_id == ledger_id).limit(COUNTED_MAX).subquery().c
    query = (
        select(account.currency, func.count(), func.sum(account.debits_posted), func.sum(account.credits_posted))
        .group_by(account.currency)
        .order_by(account.currency)
    )
    totals = [
        CurrencyTotals(
            currency=currency, account_count=count, debits_posted=str(debit_sum), credits_posted=str(credit_sum)
        )
        for currency, count, debit_sum, credit_sum in await session.execute(query)
    ]
    return totals if sum(total.account_count for total in totals) < COUNTED_MAX else None


async def _latest_transfers(session: AsyncSession, ledger_id: int) -> Sequence[domain.Transfer]:
    page = TransferRepository(session).page(ledger_id, limit=_LATEST_TRANSFERS, before=None)
    return [transfer async for transfers in page for transfer in transfers if isinstance(transfer, domain.Transfer)]


async def _busiest_accounts(session: AsyncSession, ledger_id: int) -> list[BusyAccount]:
    sides = (Transfer.debit_account_id, Transfer.credit_account_id)
    latest = select(*sides).where(Transfer.ledger_id == ledger_id).order_by(Transfer.id.desc()).limit(_BUSY_TRANSFERS)
    row = latest.cte().c
    moved = union_all(select(row.debit_account_id.label("id")), select(row.credit_account_id)).subquery()
    count = func.count().label("recent_transfer_count")
    busiest = (
        select(moved.c.id, count).group_by(moved.c.id).order_by(count.desc(), moved.c.id).limit(_BUSIEST_ACCOUNTS)
    ).subquery()
    query = (
        select(Account.id, Account.reference, Account.name, Account.version, busiest.c.recent_transfer_count)
        .join(busiest, and_(Account.ledger_id == ledger_id, Account.id == busiest.c.id))
        .order_by(busiest.c.recent_transfer_count.desc(), Account.id)
    )
    return [BusyAccount(**found._asdict()) for found in await session.execute(query)]
