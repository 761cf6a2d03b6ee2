"""A ledger at a glance, read by several sessions at once on one snapshot."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from msgspec import Struct
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import transfers as domain
from service.settings import Settings
from service.storage.database import Database
from service.storage.models import Account, Transfer
from service.storage.retry import run_with_retries
from service.storage.transfers import TransferRepository

T = TypeVar("T")

_LATEST_TRANSFERS = 10
_BUSIEST_ACCOUNTS = 10
_OVERVIEWS_AT_ONCE_MAX = 1
"""Each overview needs six connections at the same time: several at once could starve each other of the last one."""


class CurrencyTotals(Struct, frozen=True, kw_only=True):
    """The sums of all accounts in one currency, in minor units. Debits and credits are equal in a sound ledger.

    The sums are arbitrarily large, so they travel as decimal strings.
    """

    currency: str
    account_count: int
    debits_posted: str
    credits_posted: str


class BusyAccount(Struct, frozen=True, kw_only=True):
    """An account by how often its counters changed."""

    id: UUID
    reference: str | None
    name: str | None
    version: int


class Overview(Struct, frozen=True, kw_only=True):
    """What one snapshot of a ledger says."""

    account_counts: dict[str, int]
    transfer_count: int
    totals: Sequence[CurrencyTotals]
    latest_transfers: Sequence[domain.Transfer]
    busiest_accounts: Sequence[BusyAccount]


class OverviewReader:
    """Reads overviews: five queries in parallel, a session each, all on the snapshot that a sixth one exports."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._engine = database.engine.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
        self._settings = settings
        self._turn = asyncio.Semaphore(_OVERVIEWS_AT_ONCE_MAX)

    async def read(self, ledger_id: int) -> Overview:
        """Return the overview of one ledger. Raises StorageError when every try failed."""

        async def attempt() -> Overview:
            async with self._turn, AsyncSession(self._engine) as exporter, exporter.begin():
                snapshot = (await exporter.scalars(select(func.pg_export_snapshot()))).one()
                counts, transfer_count, totals, latest, busiest = await asyncio.gather(
                    self._on_snapshot(snapshot, lambda session: _account_counts(session, ledger_id)),
                    self._on_snapshot(snapshot, lambda session: _transfer_count(session, ledger_id)),
                    self._on_snapshot(snapshot, lambda session: _totals(session, ledger_id)),
                    self._on_snapshot(snapshot, lambda session: _latest_transfers(session, ledger_id)),
                    self._on_snapshot(snapshot, lambda session: _busiest_accounts(session, ledger_id)),
                )
            return Overview(
                account_counts=counts,
                transfer_count=transfer_count,
                totals=totals,
                latest_transfers=latest,
                busiest_accounts=busiest,
            )

        return await run_with_retries(
            attempt,
            attempts_max=self._settings.read_attempts_max,
            deadline_seconds=self._settings.read_deadline_seconds,
        )

    async def _on_snapshot(self, snapshot: str, query: Callable[[AsyncSession], Awaitable[T]]) -> T:
        async with AsyncSession(self._engine, expire_on_commit=False) as session, session.begin():
            # No parameters here: SET takes a literal. The name is PostgreSQL's own, hexadecimal digits and dashes.
            await session.execute(text(f"SET TRANSACTION SNAPSHOT '{snapshot}'"))
            return await query(session)


async def _account_counts(session: AsyncSession, ledger_id: int) -> dict[str, int]:
    query = select(Account.status, func.count()).where(Account.ledger_id == ledger_id).group_by(Account.status)
    return dict((await session.execute(query)).all())


async def _transfer_count(session: AsyncSession, ledger_id: int) -> int:
    query = select(func.count()).select_from(Transfer).where(Transfer.ledger_id == ledger_id)
    return (await session.scalars(query)).one()


async def _totals(session: AsyncSession, ledger_id: int) -> list[CurrencyTotals]:
    query = (
        select(Account.currency, func.count(), func.sum(Account.debits_posted), func.sum(Account.credits_posted))
        .where(Account.ledger_id == ledger_id)
        .group_by(Account.currency)
        .order_by(Account.currency)
    )
    return [
        CurrencyTotals(
            currency=currency, account_count=count, debits_posted=str(debit_sum), credits_posted=str(credit_sum)
        )
        for currency, count, debit_sum, credit_sum in await session.execute(query)
    ]


async def _latest_transfers(session: AsyncSession, ledger_id: int) -> Sequence[domain.Transfer]:
    return await TransferRepository(session).page(ledger_id, limit=_LATEST_TRANSFERS, before=None)


async def _busiest_accounts(session: AsyncSession, ledger_id: int) -> list[BusyAccount]:
    query = (
        select(Account.id, Account.reference, Account.name, Account.version)
        .where(Account.ledger_id == ledger_id, Account.version > 0)
        .order_by(Account.version.desc(), Account.id)
        .limit(_BUSIEST_ACCOUNTS)
    )
    return [
        BusyAccount(id=id_, reference=reference, name=name, version=version)
        for id_, reference, name, version in await session.execute(query)
    ]
