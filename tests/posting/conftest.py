"""Fixtures of the tests of posting: a database, the pool of group commit, and a superuser's connection."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec import structs

from service.posting.committer import Committer
from service.settings import Settings
from service.storage.database import Database
from tests.posting.callers import Start
from tests.support.committing import make_committer
from tests.support.rows import add_accounts
from tests.support.servers import TestDatabase, TestPostgres


@pytest.fixture(scope="module")
async def module_database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    async with postgres.fresh_database() as database:
        yield database


@pytest.fixture
async def test_database(module_database: TestDatabase) -> AsyncIterator[TestDatabase]:
    """The database of a test module, emptied after each test. A test that changes anything but rows must undo that."""
    yield module_database
    connection = await asyncpg.connect(module_database.superuser_url)
    await connection.execute("""
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();
        DELETE FROM funds.reversed_transfers;
        DELETE FROM funds.transfers;
        DELETE FROM funds.holds;
        DELETE FROM funds.decisions;
        DELETE FROM funds.history WHERE (ledger_id, type) <> (1, 'ledger.created');
        DELETE FROM funds.accounts;
        DELETE FROM funds.ledgers WHERE name <> 'main';
        DELETE FROM funds.ledger_heads WHERE ledger_id > 1;
        UPDATE funds.ledger_heads SET last_at = clock_timestamp();
    """)
    await connection.close()


@pytest.fixture
async def batch_database(settings: Settings, database_url: str) -> AsyncIterator[Database]:
    """The connections of group commit, as the service makes them."""
    database = Database.connect_batches(database_url, settings)
    yield database
    await database.close()


@pytest.fixture
async def superuser(superuser_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, which only constraints stop from changing rows."""
    connection = await asyncpg.connect(superuser_url)
    yield connection
    await connection.close()


@pytest.fixture
async def start(settings: Settings, database_url: str) -> AsyncIterator[Start]:
    """Return a function that starts committers, which are stopped after the test."""
    made: list[tuple[Committer, Database]] = []

    async def start_committer(**changes: Any) -> Committer:
        changed = structs.replace(settings, **changes)
        database = Database.connect_batches(database_url, changed)
        committer = make_committer(database, changed)
        made.append((committer, database))
        await committer.start()
        return committer

    yield start_committer
    for committer, database in made:
        await committer.stop()
        await database.close()


@pytest.fixture
async def accounts(superuser: asyncpg.Connection) -> tuple[UUID, UUID]:
    debit, credit = await add_accounts(superuser, 2)
    return debit, credit
