"""The feed where a replica answers: what wakes a follower is read, also where the replica is not so far yet."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import pytest
from msgspec import structs
from sqlalchemy import event
from sqlalchemy.util import await_only

from service.audit.feed import Feed, Place
from service.audit.watcher import HeadWatcher
from service.domain.identifiers import identifier
from service.settings import Settings
from service.storage.database import Database
from service.storage.replica import Replica
from service.storage.repositories.history import ALL
from service.storage.slots import Slots
from service.storage.transactions import Mode, Reader, Transactions
from tests.support.database_faults import superuser
from tests.support.rows import MAIN, insert
from tests.support.servers import TestDatabase, TestPostgres

PLACE = Place("client", MAIN, "/v1/ledgers/main", ALL, 100, None)
LONG = 30.0


@pytest.fixture
async def replica(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    """Another database in the place of a replica: nothing ever reaches it, unless the test writes it there."""
    async with postgres.fresh_database() as database:
        yield database


@pytest.fixture
async def feed(settings: Settings, database: Database, replica: TestDatabase) -> AsyncIterator[Feed]:
    """A feed that reads the replica first, and is woken by the primary."""
    nearby = Database.connect(replica.service_url, settings)
    watched = Replica(nearby, database)
    await watched.look()
    assert watched.usable
    on_primary = Transactions(database, settings.read_limits, Mode.READ_ONLY)
    reader = Reader(on_primary, replica=watched, on_replica=Transactions(nearby, settings.read_limits, Mode.READ_ONLY))
    watcher = HeadWatcher(Reader(on_primary))
    looking = asyncio.create_task(_look(watcher))
    yield Feed(reader, watcher, Slots(10, waiting_max=0))
    looking.cancel()
    await asyncio.wait([looking])
    await nearby.close()


async def _look(watcher: HeadWatcher) -> None:
    while True:
        await watcher.look()
        await asyncio.sleep(0.01)


async def add_entry(database: TestDatabase) -> UUID:
    """Commit an entry, as a writer does: it takes the place behind the head, and leaves it there."""
    async with superuser(database) as connection, connection.transaction():
        at: datetime = await connection.fetchval(
            "UPDATE funds.ledger_heads SET last_at = greatest(clock_timestamp(), last_at + interval '1 microsecond')"
            " WHERE ledger_id = $1 RETURNING last_at",
            MAIN,
        )
        entry_id = identifier(at, 0, 0)
        row = {"ledger_id": MAIN, "id": entry_id, "type": "key.fenced", "data": "{}", "created_at": at}
        await insert(connection, "history", **row)
        return entry_id


async def test_what_the_replica_has_is_read_there(feed: Feed, replica: TestDatabase) -> None:
    entry_id = await add_entry(replica)
    found = await feed.next_page(PLACE, 0)
    assert found.entries[-1].id == entry_id
    assert found.as_of is not None


async def test_what_wakes_a_follower_is_read_where_it_is(feed: Feed, test_database: TestDatabase) -> None:
    there = await feed.next_page(PLACE, 0)
    place = structs.replace(PLACE, after=there.entries[-1].id) if there.entries else PLACE
    waiting = asyncio.create_task(feed.next_page(place, LONG))
    streamed = feed.pages(place, seconds=LONG, pause_seconds_max=LONG)
    assert (await anext(streamed)).entries == []
    next_streamed = asyncio.ensure_future(anext(streamed))
    await asyncio.sleep(0.1)
    entry_id = await add_entry(test_database)
    for found in (await waiting, await next_streamed):
        assert found.entries[-1].id == entry_id
        assert found.as_of is None, "the primary was read"
    await streamed.aclose()


async def test_what_is_committed_in_the_middle_of_a_read_is_not_missed(
    settings: Settings, database: Database, test_database: TestDatabase
) -> None:
    """The head is read before the entries: what comes between them is read, and what comes later moves the head."""
    on_primary = Reader(Transactions(database, settings.read_limits, Mode.READ_ONLY))
    watcher = HeadWatcher(on_primary)
    feed = Feed(on_primary, watcher, Slots(10, waiting_max=0))
    there = await feed.next_page(PLACE, 0)
    place = structs.replace(PLACE, after=there.entries[-1].id) if there.entries else PLACE
    added: list[UUID] = []

    def add_once(*_: object) -> None:
        if not added:
            added.append(await_only(add_entry(test_database)))

    event.listen(database.engine.sync_engine, "after_cursor_execute", add_once)
    looking = asyncio.create_task(_look(watcher))
    found = await feed.next_page(place, 1)
    assert [entry.id for entry in found.entries] == added
    looking.cancel()
    await asyncio.wait([looking])
