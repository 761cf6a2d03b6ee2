"""What the tests of storage share: a database for all tests of a module, which bring rows of their own or none."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.settings import Settings
from service.storage.database import Database
from tests.servers import TestDatabase, TestPostgres


@pytest.fixture(scope="module")
async def shared_database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    name, database = await postgres.make_database()
    yield database
    await postgres.drop_database(name)


@pytest.fixture(scope="module")
async def pool(shared_database: TestDatabase) -> AsyncIterator[Database]:
    """The service's connections to the shared database."""
    database = Database.connect(shared_database.service_url, Settings())
    yield database
    await database.close()


@pytest.fixture
async def shared_session(pool: Database) -> AsyncIterator[AsyncSession]:
    """A session of the service in the shared database, rolled back in the end."""
    async with pool.sessions() as session:
        yield session


@pytest.fixture
async def outsider(shared_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the shared database of someone whom nothing but constraints stops."""
    connection = await asyncpg.connect(shared_database.superuser_url)
    yield connection
    await connection.close()
