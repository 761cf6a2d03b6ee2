"""Several sessions that see the same moment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import func, select, text

from service.storage.database import Session


async def export_snapshot(session: Session) -> str:
    """Return the name of what ``session``'s transaction sees, for others while it lasts."""
    name: str = (await session.scalars(select(func.pg_export_snapshot()))).one()
    return name


@asynccontextmanager
async def on_snapshot(session: Session, snapshot: str) -> AsyncIterator[Session]:
    """Give another session of ``session``'s engine, in a transaction that sees ``snapshot``."""
    async with Session(session.bind, expire_on_commit=False) as other, other.begin():
        # No parameters here: SET takes a literal. The name is PostgreSQL's own, hexadecimal digits and dashes.
        await other.execute(text(f"SET TRANSACTION SNAPSHOT '{snapshot}'"))
        yield other
