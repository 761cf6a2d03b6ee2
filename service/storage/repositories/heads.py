"""Named queries on the heads of ledgers."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, cast

from sqlalchemy import ARRAY, Integer, Table, any_, bindparam, func, insert, select, update

from service.domain.order import ClosedPeriod
from service.storage.database import Session
from service.storage.rows import LedgerHeadRow

# Of the table and not of the mapped class: a statement costs Python a third less without the ORM.
_HEADS = LedgerHeadRow.__table__.c
_READ = select(_HEADS.last_at).where(_HEADS.ledger_id == bindparam("ledger_id", type_=Integer))
_READ_ALL = select(LedgerHeadRow.ledger_id, LedgerHeadRow.last_at).where(
    LedgerHeadRow.ledger_id == any_(bindparam("ledger_ids", type_=ARRAY(Integer)))
)
# NO KEY UPDATE, as everything is locked here: nothing refers to a head, and nobody changes its key. PostgreSQL makes
# the columns of a locking query before it waits for the lock, and does not look again where whoever held it changed
# nothing. The clock is read outside of that query, for each row that comes out of it: after the lock.
_LOOK = select(_HEADS.last_at, func.clock_timestamp(), _HEADS.closed_until, _HEADS.late_entries).where(
    _HEADS.ledger_id == bindparam("ledger_id", type_=Integer)
)
_LOCKED = (
    select(_HEADS.last_at, _HEADS.closed_until, _HEADS.late_entries)
    .where(_HEADS.ledger_id == bindparam("ledger_id", type_=Integer))
    .with_for_update(key_share=True)
    .subquery()
)
_LOCK = select(_LOCKED.c.last_at, func.clock_timestamp(), _LOCKED.c.closed_until, _LOCKED.c.late_entries)
# Not named like the column, which would be set then.
_ADVANCE = update(cast("Table", LedgerHeadRow.__table__)).where(_HEADS.ledger_id == bindparam("id", type_=Integer))


class Head(NamedTuple):
    """The last place of a ledger, and the database's clock when it was read; where it was locked, once it was. And up
    to which value date the ledger is closed.
    """

    last_at: datetime
    clock: datetime
    closed_until: datetime | None
    late_entries: str | None

    @property
    def period(self) -> ClosedPeriod | None:
        """The period that is closed."""
        if self.closed_until is None or self.late_entries is None:
            return None
        return ClosedPeriod(self.closed_until, self.late_entries)


class HeadRepository:
    """Reads, locks and moves heads on the session of one unit of work: each is a ledger's last place in the order."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def lock(self, ledger_id: int) -> Head:
        """Lock the ledger's head until the transaction ends.

        It comes before every other statement of a transaction that writes to the ledger: what is read after it is read
        when all who wrote before have committed. Through SQLAlchemy, which begins the transaction with it; the lock of
        a statement that goes past it to the driver would not last.
        """
        return Head(*(await self._session.execute(_LOCK, {"ledger_id": ledger_id})).one())

    async def read(self, ledger_id: int) -> datetime:
        """Return the ledger's last place."""
        last_at: datetime = (await self._session.scalars(_READ, {"ledger_id": ledger_id})).one()
        return last_at

    async def look(self, ledger_id: int) -> Head:
        """Return the ledger's last place and the database's clock, and lock nothing."""
        return Head(*(await self._session.execute(_LOOK, {"ledger_id": ledger_id})).one())

    async def read_all(self, ledger_ids: Sequence[int]) -> dict[int, datetime]:
        """Return the last places of those ledgers of ``ledger_ids`` that exist."""
        rows = await self._session.execute(_READ_ALL, {"ledger_ids": list(ledger_ids)})
        return {row.ledger_id: row.last_at for row in rows}

    async def add(self, ledger_id: int, last_at: datetime) -> None:
        """Add the head of a new ledger."""
        await self._session.execute(insert(LedgerHeadRow).values(ledger_id=ledger_id, last_at=last_at))

    async def advance(self, ledger_id: int, last_at: datetime) -> None:
        """Move the ledger's head, which is locked, to its last place."""
        await self._session.execute(_ADVANCE, {"id": ledger_id, "last_at": last_at})

    async def close(self, ledger_id: int, period: ClosedPeriod | None) -> None:
        """Set which period of the ledger is closed, whose head is locked."""
        until, late_entries = (None, None) if period is None else (period.until, period.late_entries)
        await self._session.execute(_ADVANCE, {"id": ledger_id, "closed_until": until, "late_entries": late_entries})
