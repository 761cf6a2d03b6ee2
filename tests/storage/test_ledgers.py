"""Named queries on ledgers."""

from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.ledgers import StoredLedger
from service.storage.lists import ListOrder
from service.storage.repositories.ledgers import LedgerRepository
from tests.storage.paging import all_pages, in_either_order, ordered, rows_of
from tests.support.rows import MAIN, add_ledger
from tests.support.servers import TestDatabase

NAMES = ["archive", "bank", "main", "treasury"]


@pytest.fixture(scope="module", autouse=True)
async def stored_rows(shared_database: TestDatabase) -> None:
    """Ledgers that were not made in the order of their names."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    for name in ("treasury", "bank", "archive"):
        await add_ledger(superuser, name)
    await superuser.close()


@pytest.fixture
def ledgers(shared_session: AsyncSession) -> LedgerRepository:
    return LedgerRepository(shared_session)


@pytest.mark.parametrize("names", [None, [], ["bank"], ["treasury", "archive", "nobody"]])
@pytest.mark.parametrize("limit", [1, 2, 10])
@in_either_order
async def test_pages_are_in_the_order_of_names(
    ledgers: LedgerRepository, names: list[str] | None, limit: int, order: ListOrder
) -> None:
    async def page(after: StoredLedger | None) -> Any:
        return await rows_of(ledgers.page(limit=limit, order=order, after=after.name if after else None, names=names))

    listed = [ledger.name for ledger in await all_pages(page, limit)]
    assert listed == ordered(sorted(NAMES if names is None else set(names) & set(NAMES), reverse=True), order)


async def test_a_ledger_is_known_by_its_name(ledgers: LedgerRepository) -> None:
    found = await ledgers.by_name("main")
    assert found is not None
    assert found.id == MAIN
    assert await ledgers.by_name("MAIN") is None
