"""Named queries on ledgers."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, Text, any_, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.storage.lists import LIMIT, Slices, slices
from service.storage.models import Ledger


class LedgerRepository:
    """Reads ledgers on the session of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_name(self, name: str) -> Ledger | None:
        """Return the ledger called ``name``."""
        return next(iter(await self.by_names([name])), None)

    async def by_names(self, names: Sequence[str]) -> Sequence[Ledger]:
        """Return the ledgers that exist of ``names``."""
        return (
            await self._session.scalars(select(Ledger).where(Ledger.name == any_(literal(list(names), ARRAY(Text)))))
        ).all()

    async def page(self, *, limit: int, after: str | None, names: Sequence[str] | None) -> Slices[Ledger]:
        """Yield, in slices, up to ``limit`` ledgers by name, after the name ``after``; only ``names`` unless None."""
        query = select(Ledger).order_by(Ledger.name).limit(LIMIT)
        if after is not None:
            query = query.where(Ledger.name > after)
        if names is not None:
            query = query.where(Ledger.name == any_(literal(list(names), ARRAY(Text))))
        async for rows in slices(self._session, query, {"limit": limit}):
            yield [ledger for (ledger,) in rows]
