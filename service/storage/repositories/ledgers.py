"""Named queries on ledgers."""

from collections.abc import Sequence

from msgspec import structs
from sqlalchemy import ARRAY, Text, any_, func, insert, literal, select

from service.domain.ledgers import Ledger, StoredLedger
from service.storage.database import Session
from service.storage.group_commit.pipeline import is_distributed
from service.storage.lists import LIMIT, ListOrder, Slices, behind, ordered, slices
from service.storage.rows import LedgerRow

_LEDGERS = LedgerRow.__table__.c
_COLUMNS = [_LEDGERS[name] for name in StoredLedger.__struct_fields__]

# Citus gives numbers of a column's sequence on its coordinator only. Whoever adds a ledger holds the installation's
# head, and no ledger is ever removed.
_FOLLOWING = select(func.coalesce(func.max(_LEDGERS.id), 0) + 1)


class LedgerRepository:
    """Reads ledgers on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def by_name(self, name: str) -> StoredLedger | None:
        """Return the ledger called ``name``."""
        return next(iter(await self.by_names([name])), None)

    async def by_names(self, names: Sequence[str]) -> Sequence[StoredLedger]:
        """Return the ledgers that exist of ``names``."""
        query = select(*_COLUMNS).where(_LEDGERS.name == any_(literal(list(names), ARRAY(Text))))
        return [StoredLedger(**row._asdict()) for row in await self._session.execute(query)]

    async def known_names(self, names: Sequence[str]) -> set[str]:
        """Return those of ``names`` that ledgers have. The operator's role may read no more of a ledger."""
        query = select(_LEDGERS.name).where(_LEDGERS.name == any_(literal(list(names), ARRAY(Text))))
        return set(await self._session.scalars(query))

    async def add(self, ledger: Ledger) -> StoredLedger:
        """Add ``ledger``. Raises the driver's errors: a violation of UQ_LEDGERS_NAME when a ledger has the name."""
        values = structs.asdict(ledger)
        given = {"id": await self._session.scalar(_FOLLOWING)} if await is_distributed(self._session) else {}
        added = await self._session.execute(insert(LedgerRow).values(values | given).returning(LedgerRow.id))
        return StoredLedger(id=added.scalar_one(), **values)

    async def page(
        self, *, limit: int, order: ListOrder, after: str | None, names: Sequence[str] | None
    ) -> Slices[StoredLedger]:
        """Yield, in slices, up to ``limit`` ledgers in ``order`` of their names, after the one called ``after``; only
        ``names`` unless None.
        """
        query = select(*_COLUMNS).order_by(ordered(_LEDGERS.name, order)).limit(LIMIT)
        if after is not None:
            query = query.where(behind(_LEDGERS.name, literal(after), order))
        if names is not None:
            query = query.where(_LEDGERS.name == any_(literal(list(names), ARRAY(Text))))
        async for rows in slices(self._session, query, {"limit": limit}):
            yield [StoredLedger(**row._asdict()) for row in rows]
