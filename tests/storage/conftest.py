"""Fixtures of the tests of storage: a database for all tests of a module, each with rows of its own or none."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.settings import Settings
from service.storage.database import Database
from tests.support.servers import TestDatabase, TestPostgres


@pytest.fixture(scope="module")
async def shared_database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    async with postgres.fresh_database() as database:
        yield database


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
async def superuser(shared_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to the shared database, which only constraints stop from changing rows."""
    connection = await asyncpg.connect(shared_database.superuser_url)
    yield connection
    await connection.close()
