"""A ledger at a glance, read by several sessions at once on one snapshot."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.domain.overview import Overview
from service.domain.transfers import Transfer
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.snapshots import export_snapshot, on_snapshot
from service.storage.transfer_filters import TransferFilters

T = TypeVar("T")

_LATEST_TRANSFERS = 10


async def read_overview(session: Session, ledger_id: int) -> Overview:
    """Return the overview of one ledger: five queries in parallel, a session each, all on the snapshot that ``session``
    exports. Its transaction must see one snapshot (a Reader of ``snapshots``); the other sessions are of its engine.
    """
    snapshot = await export_snapshot(session)

    async def there(query: Callable[[Repositories], Awaitable[T]]) -> T:
        async with on_snapshot(session, snapshot) as other:
            return await query(Repositories(other))

    try:
        async with asyncio.TaskGroup() as group:  # when one fails, the others are cancelled and their sessions closed
            counts = group.create_task(there(lambda one: one.overview.account_counts(ledger_id)))
            transfer_count = group.create_task(there(lambda one: one.overview.transfer_count(ledger_id)))
            totals = group.create_task(there(lambda one: one.overview.totals(ledger_id)))
            latest = group.create_task(there(lambda one: _latest_transfers(one, ledger_id)))
            busiest = group.create_task(there(lambda one: one.overview.busiest_accounts(ledger_id)))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the reader knows by its class whether to read again
    return Overview(
        account_counts=counts.result(),
        transfer_count=transfer_count.result(),
        totals=totals.result(),
        latest_transfers=latest.result(),
        busiest_accounts=busiest.result(),
    )


async def _latest_transfers(repositories: Repositories, ledger_id: int) -> list[Transfer]:
    page = repositories.transfers.page(ledger_id, TransferFilters(), limit=_LATEST_TRANSFERS, order="desc", after=None)
    return [transfer async for transfers in page for transfer in transfers if isinstance(transfer, Transfer)]
