"""The database's clock: the one that decides."""

from datetime import datetime

from sqlalchemy import func, select

from service.storage.database import Session

_NOW = select(func.clock_timestamp())


async def database_time(session: Session) -> datetime:
    """Return the time of this moment, not that of the transaction's begin."""
    now: datetime = (await session.scalars(_NOW)).one()
    return now
