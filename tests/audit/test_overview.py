"""An overview that fails leaves nothing behind."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import QueuePool

from service.audit.overview import read_overview
from service.storage.database import Database
from tests.support.database_faults import execute, locked
from tests.support.servers import TestDatabase

MAIN = 1
SNAPSHOTS = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


async def test_when_one_query_fails_the_others_are_ended(database: Database, test_database: TestDatabase) -> None:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    tasks = asyncio.all_tasks()
    async with locked(test_database, "transfers"):  # these queries would wait for as long as a statement may
        await execute(test_database, "REVOKE SELECT ON funds.accounts FROM funds_service")
        async with AsyncSession(database.engine.execution_options(**SNAPSHOTS)) as session, session.begin():
            with pytest.raises(DBAPIError, match="permission denied"):
                await read_overview(session, MAIN)
            assert pool.checkedout() == 1, "only the session of the caller has a connection"
        assert asyncio.all_tasks() == tasks
    assert pool.checkedout() == 0
