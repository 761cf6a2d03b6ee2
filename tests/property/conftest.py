"""One bank for all the ledgers that are drawn."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

import tests.property.drawing  # noqa: F401 - its profile must be known before the command line is read
from service.settings import Settings
from service.storage.database import Database
from tests.property.bank import Bank
from tests.support.committing import make_committer


@pytest.fixture
async def bank(settings: Settings, database: Database, database_url: str, superuser_url: str) -> AsyncIterator[Bank]:
    batch_database = Database.connect_batches(database_url, settings)
    committer = make_committer(batch_database, settings)
    superuser = await asyncpg.connect(superuser_url)
    await committer.start()
    yield Bank(committer, database, settings, superuser)
    await committer.stop()
    await superuser.close()
    await batch_database.close()
