"""What the tests of storage share: someone outside the service, and a database for tests that leave no trace."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.servers import TestDatabase, TestPostgres


@pytest.fixture
async def superuser(superuser_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of someone whom nothing but constraints stops."""
    connection = await asyncpg.connect(superuser_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def shared_database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    """A migrated database for all tests of a module."""
    name, database = await postgres.make_database()
    yield database
    await postgres.drop_database(name)
