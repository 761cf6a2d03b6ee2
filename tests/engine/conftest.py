"""What the tests of the engine share: its own pool, and someone who stands outside the service."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.settings import Settings
from service.storage.database import Database


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
