"""What an export reads: all of a ledger in a period, on one snapshot, a slice in memory at a time."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from service.domain.exports import ExportedAccount, ExportedTransfer, Period
from service.domain.ledgers import StoredLedger
from service.journals.writing import Export
from service.storage.database import Session
from service.storage.lists import Slices
from service.storage.repositories import Repositories

R = TypeVar("R")


async def prepare_export(
    session: Session, ledger: StoredLedger, *, start: datetime | None = None, end: datetime | None = None
) -> Export:
    """Return what is exported of ``ledger``: the value dates from ``start`` on, before ``end``; without one of them
    from the first, or to the last that there is. ``session`` sees one snapshot, and is read from as the export is.

    It is as of the ledger's last place there, which is true of a replica's snapshot, too; a clock would not be.
    """
    repositories = Repositories(session)
    exports = repositories.exports
    as_of = await repositories.heads.read(ledger.id)
    if start is None or end is None:
        first, last = await exports.span(ledger.id) or (ledger.created_at, ledger.created_at)
        start = start or min(first, end or first)
        end = end or max(last + timedelta(microseconds=1), start)
    period = Period(start, end)
    currencies = await exports.currencies(ledger.id)

    def accounts() -> AsyncIterator[ExportedAccount]:
        return _each(exports.accounts(ledger.id, period))

    def transfers() -> AsyncIterator[ExportedTransfer]:
        return _each(exports.transfers(ledger.id, period))

    return Export(ledger.name, period, as_of, list(currencies), accounts, transfers)


def noting(transfers: AsyncIterator[ExportedTransfer], note: Callable[[], object]) -> AsyncIterator[ExportedTransfer]:
    """Return ``transfers``, and call ``note`` for each that is read."""

    async def noted() -> AsyncIterator[ExportedTransfer]:
        async for transfer in transfers:
            yield transfer
            note()

    return noted()


async def _each(slices: Slices[R]) -> AsyncIterator[R]:
    async for rows in slices:
        for row in rows:
            yield row
