"""Fixtures of the tests of storage: a database for all tests of a module, each with rows of its own or none."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.settings import Settings
from service.storage.database import Database
from tests.support.million_transfers import fill
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


@pytest.fixture(scope="session")
async def million_transfers(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    """A ledger of a million transfers, made once: to be copied, so that nobody connects to it."""
    async with postgres.fresh_database() as database:
        superuser = await asyncpg.connect(database.superuser_url)
        await fill(superuser)
        await superuser.close()
        yield database


@pytest.fixture(scope="module")
async def filled(postgres: TestPostgres, million_transfers: TestDatabase) -> AsyncIterator[TestDatabase]:
    """A copy of the ledger of a million transfers."""
    async with postgres.fresh_database(million_transfers) as database:
        yield database


@pytest.fixture(scope="module", params=["just filled", "well known"])
async def million(request: pytest.FixtureRequest, filled: TestDatabase) -> TestDatabase:
    """That copy, before and after PostgreSQL has looked at it."""
    if request.param == "well known":
        superuser = await asyncpg.connect(filled.superuser_url)
        await superuser.execute("VACUUM ANALYZE")
        await superuser.close()
    return filled
