"""Append-only by privilege: the past cannot be changed by the service, nor by whoever speaks as it does."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.storage.models import SCHEMA, Base
from tests.servers import TestDatabase

TABLES = {table.name: [column.name for column in table.columns] for table in Base.metadata.tables.values()}
APPEND_ONLY = {"ledgers", "transfers", "decisions"}


@pytest.fixture
async def service(shared_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(shared_database.service_url)
    yield connection
    await connection.close()


@pytest.fixture
async def auditor(shared_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(shared_database.auditor_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("table", sorted(APPEND_ONLY))
async def test_the_service_cannot_change_what_happened(service: asyncpg.Connection, table: str) -> None:
    """Not a single column of it."""
    for column in TABLES[table]:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(f"UPDATE {SCHEMA}.{table} SET {column} = {column}")


async def test_the_service_cannot_change_what_an_account_is(service: asyncpg.Connection) -> None:
    """Its transfers were proved to be in its currency when they were written: it stays what it was."""
    for column in ("ledger_id", "id", "reference", "currency", "normal_side", "created_at"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(f"UPDATE {SCHEMA}.accounts SET {column} = {column}")


@pytest.mark.parametrize("table", TABLES)
async def test_the_service_cannot_make_anything_unhappen(service: asyncpg.Connection, table: str) -> None:
    for statement in (f"DELETE FROM {SCHEMA}.{table}", f"TRUNCATE {SCHEMA}.{table} CASCADE"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO funds.ledgers TABLE funds.ledgers ON CONFLICT (id) DO UPDATE SET description = ''",
        "ALTER TABLE funds.transfers DROP CONSTRAINT ck_transfers_amount",
        "ALTER TABLE funds.transfers DISABLE TRIGGER ALL",
        "CREATE TRIGGER t BEFORE INSERT ON funds.transfers EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE quiet AS ON INSERT TO funds.transfers DO INSTEAD NOTHING",
        "DROP TABLE funds.transfers",
        "CREATE TABLE funds.shadow ()",
        "SET session_replication_role = replica",
        "SET ROLE funds_owner",
    ],
)
async def test_the_service_cannot_get_around_it(service: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(statement)


@pytest.mark.parametrize("table", TABLES)
async def test_the_auditor_only_reads(auditor: asyncpg.Connection, table: str) -> None:
    await auditor.fetch(f"SELECT * FROM {SCHEMA}.{table}")
    column = TABLES[table][0]
    for statement in (
        f"INSERT INTO {SCHEMA}.{table} SELECT * FROM {SCHEMA}.{table}",
        f"UPDATE {SCHEMA}.{table} SET {column} = {column}",
        f"DELETE FROM {SCHEMA}.{table}",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await auditor.execute(statement)
