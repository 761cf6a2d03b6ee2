"""One bank for all the ledgers that are drawn."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

import tests.property.drawing  # noqa: F401 - its profile must be known before the command line is read
from service.engine.engine import TransferEngine
from service.settings import Settings
from service.storage.database import Database
from tests.property.bank import Bank


@pytest.fixture
async def bank(settings: Settings, database: Database, database_url: str, superuser_url: str) -> AsyncIterator[Bank]:
    engine_database = Database.connect_engine(database_url, settings)
    engine = TransferEngine(engine_database, settings)
    superuser = await asyncpg.connect(superuser_url)
    await engine.start()
    yield Bank(engine, database, settings, superuser)
    await engine.stop()
    await superuser.close()
    await engine_database.close()
