"""Fixtures on a Citus with nodes, whose coordinator FUNDS_TEST_CITUS_URL names: `make test-citus`."""

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.storage.distribution import distribute
from service.storage.migrations import upgrade
from tests.support.citus import coordinator
from tests.support.servers import ROLES_SQL, TestDatabase, TestPostgres

ROLES = ("funds_owner", "funds_service", "funds_operator", "funds_auditor", "funds_reader")


@pytest.fixture(scope="session")
async def migrated() -> TestDatabase:
    """The database with a schema of its own, which is not distributed yet."""
    url, password = coordinator(), secrets.token_hex(16)
    superuser = await asyncpg.connect(url)
    await superuser.execute("SET client_min_messages = warning; DROP SCHEMA IF EXISTS funds_audit, funds CASCADE")
    await superuser.execute(ROLES_SQL.read_text())
    for role in ROLES:
        await superuser.execute(f"ALTER ROLE {role} PASSWORD '{password}'")
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.close()
    database = TestPostgres(url, password).database(name)
    await upgrade(database.owner_url)
    return database


@pytest.fixture(scope="session")
async def distributed(migrated: TestDatabase) -> TestDatabase:
    """The database with its tables distributed."""
    await distribute(migrated.superuser_url)
    return migrated


@pytest.fixture
async def superuser(distributed: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(distributed.superuser_url)
    yield connection
    await connection.close()
