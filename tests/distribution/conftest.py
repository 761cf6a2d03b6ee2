"""Fixtures on a Citus with nodes, whose coordinator FUNDS_TEST_CITUS_URL names: `make test-citus`."""

import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

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


class Node(NamedTuple):
    """A node that has shards: its group, and a superuser's URLs of its part of the database and of another one."""

    group: int
    url: str
    beside: str


@pytest.fixture(scope="session")
async def nodes(distributed: TestDatabase) -> list[Node]:
    """The nodes, without the coordinator."""
    coordinator = await asyncpg.connect(distributed.superuser_url)
    found = await coordinator.fetch(
        "SELECT groupid, nodename || ':' || nodeport AS place FROM pg_dist_node"
        " WHERE noderole = 'primary' AND groupid <> 0 ORDER BY groupid"
    )
    await coordinator.close()

    def at(place: str, path: str | None = None) -> str:
        parts = urlsplit(distributed.superuser_url)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user}@{place}", path=path or parts.path))

    return [Node(row["groupid"], at(row["place"]), at(row["place"], "/postgres")) for row in found]


@pytest.fixture
async def superuser(distributed: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(distributed.superuser_url)
    yield connection
    await connection.close()
