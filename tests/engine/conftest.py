"""What the tests of the engine share: its own pool, and someone who stands outside the service."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec import structs

from service.engine.engine import TransferEngine
from service.settings import Settings
from service.storage.database import Database
from tests.engine.callers import Start
from tests.rows import add_accounts
from tests.servers import TestDatabase, TestPostgres


@pytest.fixture(scope="module")
async def module_database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    name, database = await postgres.make_database()
    yield database
    await postgres.drop_database(name)


@pytest.fixture
async def test_database(module_database: TestDatabase) -> AsyncIterator[TestDatabase]:
    """A database that the tests of a module have one after another, as it was migrated: what a test does to anything
    but rows it undoes itself.
    """
    yield module_database
    connection = await asyncpg.connect(module_database.superuser_url)
    await connection.execute("""
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();
        DELETE FROM funds.reversed_transfers;
        DELETE FROM funds.transfers;
        DELETE FROM funds.holds;
        DELETE FROM funds.decisions;
        DELETE FROM funds.accounts;
        DELETE FROM funds.ledgers WHERE name <> 'main';
    """)
    await connection.close()


@pytest.fixture
async def engine_database(settings: Settings, database_url: str) -> AsyncIterator[Database]:
    """The connections of group commit, as the service makes them."""
    database = Database.connect_engine(database_url, settings)
    yield database
    await database.close()


@pytest.fixture
async def superuser(superuser_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of someone whom nothing but constraints stops."""
    connection = await asyncpg.connect(superuser_url)
    yield connection
    await connection.close()


@pytest.fixture
async def start(settings: Settings, database_url: str) -> AsyncIterator[Start]:
    """Engines that are stopped after the test."""
    made: list[tuple[TransferEngine, Database]] = []

    async def start_engine(**changes: Any) -> TransferEngine:
        changed = structs.replace(settings, **changes)
        database = Database.connect_engine(database_url, changed)
        engine = TransferEngine(database, changed)
        made.append((engine, database))
        await engine.start()
        return engine

    yield start_engine
    for engine, database in made:
        await engine.stop()
        await database.close()


@pytest.fixture
async def accounts(superuser: asyncpg.Connection) -> tuple[UUID, UUID]:
    debit, credit = await add_accounts(superuser, 2)
    return debit, credit
