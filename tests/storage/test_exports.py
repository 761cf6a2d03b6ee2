"""What exports read comes a slice at a time: they have as many rows as a ledger."""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.exports import Period
from service.storage.lists import streamed
from service.storage.repositories import Repositories
from tests.support.ledger_in_time import fill_in_time
from tests.support.rows import MAIN
from tests.support.servers import TestDatabase

ALWAYS = Period(datetime(1900, 1, 1, tzinfo=UTC), datetime(2900, 1, 1, tzinfo=UTC))
TRANSFERS, ROWS_AT_ONCE = 450, 200


async def test_transfers_come_in_slices(test_database: TestDatabase, session: AsyncSession) -> None:
    made = await fill_in_time(test_database.service_url, transfers=TRANSFERS)
    slices = [rows async for rows in Repositories(session).exports.transfers(MAIN, ALWAYS)]
    assert [len(rows) for rows in slices] == [ROWS_AT_ONCE, ROWS_AT_ONCE, TRANSFERS - 2 * ROWS_AT_ONCE]
    assert [one.transfer for rows in slices for one in rows] == list(made.transfers)


async def test_rows_of_a_text_come_in_slices(session: AsyncSession) -> None:
    numbers = text("SELECT number FROM generate_series(1, 1200) AS number")
    sizes = [len(rows) async for rows in streamed(session, numbers, {}, 500)]
    assert sizes == [500, 500, 200]
