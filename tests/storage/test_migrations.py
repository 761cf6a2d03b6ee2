import asyncio
import re
import sys

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection

from service.errors import DatabaseUnusableError, SchemaBehindError
from service.settings import Settings
from service.storage.database import Database
from service.storage.migrations import current_revision, downgrade, operator_engine, upgrade, verify_revision
from service.storage.preflight import verify_schema
from service.storage.rows import SCHEMA, Base
from service.storage.schema import SCHEMA_REVISION, VERSION_TABLE
from tests.support.servers import ROLES_SQL, ROOT, TestDatabase, clean_environment


@pytest.fixture
async def empty_database(test_database: TestDatabase) -> TestDatabase:
    """A database with the roles and the schema, but without tables."""
    await downgrade(test_database.owner_url, "base")
    return test_database


async def test_schema_revision_is_the_newest_migration() -> None:
    scripts = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml"))
    assert scripts.get_current_head() == SCHEMA_REVISION


async def test_upgrade_and_downgrade(empty_database: TestDatabase) -> None:
    assert await upgrade(empty_database.owner_url) == ("0000", SCHEMA_REVISION)
    assert await upgrade(empty_database.owner_url) == (SCHEMA_REVISION, SCHEMA_REVISION)
    assert await downgrade(empty_database.owner_url, "base") == (SCHEMA_REVISION, "0000")
    connection = await asyncpg.connect(empty_database.owner_url)
    left = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", SCHEMA)
    await connection.close()
    assert [row["tablename"] for row in left] == [VERSION_TABLE]


async def test_instances_that_start_together_migrate_once(empty_database: TestDatabase) -> None:
    results = await asyncio.gather(*(upgrade(empty_database.owner_url) for _ in range(6)))
    assert sorted(before for before, _ in results) == ["0000"] + [SCHEMA_REVISION] * 5
    assert {after for _, after in results} == {SCHEMA_REVISION}


async def test_rows_match_the_newest_schema(test_database: TestDatabase) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {
            "version_table": VERSION_TABLE,
            "version_table_schema": SCHEMA,
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
            "compare_type": True,
            "compare_server_default": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))

    engine = operator_engine(test_database.owner_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_checks_of_the_rows_match_the_newest_schema(test_database: TestDatabase) -> None:
    """Alembic does not compare CHECK constraints, so this test compares their names."""
    connection = await asyncpg.connect(test_database.owner_url)
    rows = await connection.fetch(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = $1::regnamespace", SCHEMA
    )
    await connection.close()
    declared = {
        str(constraint.name)
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert {row["conname"] for row in rows} == declared


async def test_schema_behind_is_refused(empty_database: TestDatabase, settings: Settings) -> None:
    database = Database.connect(empty_database.service_url, settings)
    with pytest.raises(SchemaBehindError) as caught:
        await verify_revision(database.engine)
    await database.close()
    behind = f"The database schema is at 0000, this version needs {SCHEMA_REVISION}: run `funds migrate`."
    assert str(caught.value) == behind
    with pytest.raises(SchemaBehindError) as caught:
        await verify_schema(empty_database.service_url)
    assert str(caught.value) == behind


async def test_schema_up_to_date_is_accepted(test_database: TestDatabase, database: Database) -> None:
    assert await verify_revision(database.engine) == SCHEMA_REVISION
    assert await verify_schema(test_database.service_url) == SCHEMA_REVISION


async def test_schema_ahead_is_accepted_and_left_alone(test_database: TestDatabase, database: Database) -> None:
    connection = await asyncpg.connect(test_database.owner_url)
    await connection.execute(f"UPDATE {SCHEMA}.{VERSION_TABLE} SET version_num = '9999'")
    await connection.close()
    assert await verify_revision(database.engine) == "9999"
    assert await verify_schema(test_database.service_url) == "9999"
    assert await upgrade(test_database.owner_url) == ("9999", "9999")
    async with database.engine.connect() as service:
        assert await current_revision(service) == "9999"


async def test_a_role_that_may_not_migrate_is_told_so(empty_database: TestDatabase) -> None:
    with pytest.raises(DatabaseUnusableError, match="permission denied"):
        await upgrade(empty_database.service_url)


async def test_a_schema_that_only_the_roles_script_can_make(test_database: TestDatabase) -> None:
    """An installation of before the views is told what to run first."""
    await downgrade(test_database.owner_url, "0013")
    superuser = await asyncpg.connect(test_database.superuser_url)
    await superuser.execute("DROP SCHEMA funds_audit")
    with pytest.raises(DatabaseUnusableError, match=r"funds_audit is missing: run deploy/roles\.sql again"):
        await upgrade(test_database.owner_url)
    await superuser.execute(ROLES_SQL.read_text())
    assert await upgrade(test_database.owner_url) == ("0013", SCHEMA_REVISION)
    may = "SELECT has_table_privilege('funds_reader', 'funds_audit.entries', 'SELECT')"
    assert await superuser.fetchval(may)
    await superuser.close()


async def test_what_the_service_may_do_is_taken_back_and_given_again(test_database: TestDatabase) -> None:
    """Migration 0003 took writing tokens from the service's role, and a downgrade gives it back."""
    connection = await asyncpg.connect(test_database.superuser_url)

    async def may() -> list[bool]:
        asked = [("tokens", "INSERT"), ("tokens", "UPDATE"), ("tokens", "SELECT"), ("holds", "UPDATE")]
        query = "SELECT has_table_privilege('funds_service', $1, $2)"
        return [await connection.fetchval(query, f"{SCHEMA}.{table}", privilege) for table, privilege in asked]

    assert await may() == [False] * 4
    await downgrade(test_database.owner_url, "0002")
    assert await may() == [True] * 4
    await upgrade(test_database.owner_url)
    assert await may() == [False] * 4
    await connection.close()


async def test_the_sql_of_all_migrations_is_written_without_a_database(empty_database: TestDatabase) -> None:
    """`make check` lints that text; it must also do what the migrations do. What is between two transactions is sent a
    statement at a time.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic", "upgrade", "head", "--sql"),
        cwd=ROOT,
        env=clean_environment({}),
        stdout=asyncio.subprocess.PIPE,
    )
    script, _ = await process.communicate()
    assert process.returncode == 0
    connection = await asyncpg.connect(empty_database.owner_url)
    await connection.execute(f"DROP TABLE {SCHEMA}.{VERSION_TABLE}")
    text = re.sub(r"^--.*\n", "", script.decode(), flags=re.MULTILINE)
    for part in re.split(r"^(BEGIN;.*?^COMMIT;)", text, flags=re.MULTILINE | re.DOTALL):
        for statement in [part] if part.startswith("BEGIN;") else filter(str.strip, part.split(";")):
            await connection.execute(statement)
    await connection.close()
    assert await upgrade(empty_database.owner_url) == (SCHEMA_REVISION, SCHEMA_REVISION)
