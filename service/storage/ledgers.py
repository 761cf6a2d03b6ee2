"""Named queries on ledgers."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.storage.models import Ledger


class LedgerRepository:
    """Reads ledgers on the session of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_name(self, name: str) -> Ledger | None:
        """Return the ledger called ``name``."""
        return await self._session.scalar(select(Ledger).where(Ledger.name == name))

    async def page(self, *, limit: int, after: str | None, names: Sequence[str] | None) -> Sequence[Ledger]:
        """Return up to ``limit`` ledgers by name, after the name ``after``; only ``names`` unless None."""
        query = select(Ledger).order_by(Ledger.name).limit(limit)
        if after is not None:
            query = query.where(Ledger.name > after)
        if names is not None:
            query = query.where(Ledger.name.in_(names))
        return (await self._session.scalars(query)).all()
