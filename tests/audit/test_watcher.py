"""Waiting for a ledger: woken when its head moves, let go in time and at the end, at no cost for being many."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import pytest
from msgspec import structs

from service.audit.watcher import LOOK_INTERVAL_SECONDS, HeadWatcher
from service.settings import Settings
from service.storage.database import Database
from service.storage.transactions import Mode, Reader, Transactions
from service.workers.periodic import PeriodicWorker
from tests.storage.paging import queries
from tests.support.database_faults import IMPATIENT, gone, locked, superuser
from tests.support.rows import MAIN, add_ledger
from tests.support.servers import TestDatabase

FOREVER = 60.0


@pytest.fixture
async def database(settings: Settings, database_url: str) -> AsyncIterator[Database]:
    database = Database.connect(database_url, structs.replace(settings, **IMPATIENT))
    yield database
    await database.close()


@pytest.fixture
async def watcher(database: Database, settings: Settings) -> AsyncIterator[HeadWatcher]:
    """A watcher at work."""
    limits = structs.replace(settings, **IMPATIENT).read_limits
    watcher = HeadWatcher(Reader(Transactions(database, limits, Mode.SINGLE_STATEMENT)))
    worker = PeriodicWorker("head-watcher", watcher.look, interval_seconds=LOOK_INTERVAL_SECONDS, stop_seconds_max=0)
    worker.start()
    yield watcher
    await worker.stop()


@pytest.fixture
async def heads(test_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, on which tests move heads."""
    async with superuser(test_database) as connection:
        yield connection


async def head_of(connection: asyncpg.Connection, ledger_id: int = MAIN) -> datetime:
    found: datetime = await connection.fetchval(
        "SELECT last_at FROM funds.ledger_heads WHERE ledger_id = $1", ledger_id
    )
    return found


async def move(connection: asyncpg.Connection, ledger_id: int = MAIN) -> datetime:
    moved: datetime = await connection.fetchval(
        "UPDATE funds.ledger_heads SET last_at = last_at + interval '1 microsecond' WHERE ledger_id = $1"
        " RETURNING last_at",
        ledger_id,
    )
    return moved


def waiting(
    watcher: HeadWatcher, last_seen: datetime, ledger_id: int = MAIN, seconds: float = FOREVER
) -> asyncio.Task[datetime]:
    return asyncio.create_task(watcher.wait_for_change(ledger_id, last_seen, seconds))


async def looked(database: Database, times: int = 2) -> None:
    """Wait until the watcher has looked as often again, and everyone was woken whom it concerns."""
    with queries(database) as sent:
        while len(sent) <= times:  # noqa: ASYNC110 - statements tell no event
            await asyncio.sleep(LOOK_INTERVAL_SECONDS / 5)


async def test_a_move_wakes_those_who_wait_for_that_ledger(
    watcher: HeadWatcher, database: Database, heads: asyncpg.Connection
) -> None:
    other = await add_ledger(heads, "other")
    seen, seen_there = await head_of(heads), await head_of(heads, other)
    here, there = [waiting(watcher, seen) for _ in range(3)], waiting(watcher, seen_there, other)
    await looked(database)
    assert not any(one.done() for one in (*here, there))
    moved = await move(heads)
    assert await asyncio.gather(*here) == [moved] * 3
    await looked(database)
    assert not there.done()
    moved = await move(heads, other)
    assert await there == moved


async def test_who_has_seen_less_waits_for_nothing(
    watcher: HeadWatcher, database: Database, heads: asyncpg.Connection
) -> None:
    """Whether or not the watcher has looked at the ledger before."""
    seen = await head_of(heads)
    moved = await move(heads)
    assert await watcher.wait_for_change(MAIN, seen, FOREVER) == moved
    patient = waiting(watcher, moved)
    await looked(database)
    with queries(database) as sent:
        assert await watcher.wait_for_change(MAIN, seen, FOREVER) == moved
        assert not sent
    assert not patient.done()
    moved = await move(heads)
    assert await patient == moved


async def test_time_ends_a_wait(watcher: HeadWatcher, heads: asyncpg.Connection) -> None:
    seen = await head_of(heads)
    assert await watcher.wait_for_change(MAIN, seen, 0.01) == seen
    assert await watcher.wait_for_change(MAIN, seen, 3 * LOOK_INTERVAL_SECONDS) == seen


async def test_a_ledger_without_a_head_never_moves(watcher: HeadWatcher, heads: asyncpg.Connection) -> None:
    seen = await head_of(heads)
    assert await watcher.wait_for_change(-1, seen, 3 * LOOK_INTERVAL_SECONDS) == seen


async def test_one_statement_a_look_and_none_while_nobody_waits(
    watcher: HeadWatcher, database: Database, heads: asyncpg.Connection
) -> None:
    ledgers = [MAIN, *[await add_ledger(heads, f"ledger-{number}") for number in range(9)]]
    seen = max([await head_of(heads, ledger_id) for ledger_id in ledgers])
    async with asyncio.timeout(FOREVER):
        with queries(database) as sent:
            everyone = [waiting(watcher, seen, ledger_id) for ledger_id in ledgers for _ in range(10)]
            began = time.monotonic()
            await looked(database, 10)
            took = time.monotonic() - began
            assert len(sent) <= took / LOOK_INTERVAL_SECONDS + 2
            assert {sorted(parameters[0]) == sorted(ledgers) for _, parameters in sent} == {True}
    for one in everyone:
        one.cancel()
    await asyncio.wait(everyone)
    await asyncio.sleep(LOOK_INTERVAL_SECONDS)  # the look that was under way
    with queries(database) as sent:
        await asyncio.sleep(5 * LOOK_INTERVAL_SECONDS)
        assert not sent


async def test_while_the_database_is_away_time_ends_a_wait(
    watcher: HeadWatcher, test_database: TestDatabase, heads: asyncpg.Connection
) -> None:
    seen = await head_of(heads)
    patient = waiting(watcher, seen)
    async with gone(test_database):
        began = time.monotonic()
        assert await watcher.wait_for_change(MAIN, seen, 0.3) == seen
        assert time.monotonic() - began < FOREVER / 2
        assert not patient.done()
    async with superuser(test_database) as connection:
        moved = await move(connection)
    assert await patient == moved


async def test_while_the_heads_are_locked_time_ends_a_wait(
    watcher: HeadWatcher, test_database: TestDatabase, heads: asyncpg.Connection
) -> None:
    seen = await head_of(heads)
    async with locked(test_database, "ledger_heads"):
        assert await watcher.wait_for_change(MAIN, seen, 0.3) == seen
    moved = await move(heads)
    assert await watcher.wait_for_change(MAIN, seen, FOREVER) == moved


async def test_the_end_ends_every_wait(watcher: HeadWatcher, database: Database, heads: asyncpg.Connection) -> None:
    seen = await head_of(heads)
    everyone = [waiting(watcher, seen) for _ in range(10)]
    await looked(database)
    watcher.stop()
    assert await asyncio.gather(*everyone) == [seen] * 10
    assert await watcher.wait_for_change(MAIN, seen, FOREVER) == seen


async def test_a_thousand_who_wait_cost_what_one_costs(
    watcher: HeadWatcher, database: Database, heads: asyncpg.Connection
) -> None:
    """In time of the processor, over ten looks: measured 0.03 s for either."""
    seen = await head_of(heads)

    async def spent() -> float:
        began = time.process_time()
        await looked(database, 10)
        return time.process_time() - began

    everyone = [waiting(watcher, seen)]
    await looked(database)
    with_one = await spent()
    everyone += [waiting(watcher, seen) for _ in range(1_000)]
    await looked(database)
    with_thousand = await spent()
    moved = await move(heads)
    assert set(await asyncio.gather(*everyone)) == {moved}
    assert with_thousand < 2 * with_one + 0.1
