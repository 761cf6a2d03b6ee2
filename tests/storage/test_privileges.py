"""What each role may do, statement by statement: append-only for the service, tokens for the operator, reading for the
auditor, and nothing beside it. ``tests/storage/privileges.py`` is the list.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from service.storage.rows import SCHEMA
from tests.storage.privileges import (
    ALL,
    AUDITOR,
    COLUMN_PRIVILEGES,
    OPERATOR,
    READER,
    ROLES,
    SEQUENCES,
    SERVICE,
    TABLE_PRIVILEGES,
    TABLES,
    VIEW_READERS,
    VIEWS,
)
from tests.support.servers import ROLES_SQL, TestDatabase

Refused = asyncpg.InsufficientPrivilegeError
VIEW_SCHEMA = "funds_audit"
TRIGGER_FUNCTION = "suppress_redundant_updates_trigger()"


@pytest.fixture(scope="module")
async def connections(shared_database: TestDatabase) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """A connection for each role, and the superuser's under "". A clone has no privileges of its own: made here."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    await superuser.execute(ROLES_SQL.read_text())
    urls = {
        SERVICE: shared_database.service_url,
        OPERATOR: shared_database.operator_url,
        AUDITOR: shared_database.auditor_url,
        READER: shared_database.reader_url,
    }
    connections = {role: await asyncpg.connect(url) for role, url in urls.items()} | {"": superuser}
    yield connections
    for connection in connections.values():
        await connection.close()


@pytest.fixture(scope="module")
def superuser(connections: dict[str, asyncpg.Connection]) -> asyncpg.Connection:
    return connections[""]


@pytest.fixture(scope="module")
async def columns(superuser: asyncpg.Connection) -> dict[str, list[str]]:
    """The columns of every table and whatever else has rows in the schema, but sequences."""
    rows = await superuser.fetch(
        "SELECT relname, array_agg(attname::text ORDER BY attnum) AS names FROM pg_class"
        " JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped"
        " WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') GROUP BY relname",
        SCHEMA,
    )
    return {row["relname"]: row["names"] for row in rows}


def allowed(table: str, role: str, privilege: str, column: str | None = None) -> bool:
    """Return whether the list grants the privilege to ``role``, on the whole table or on one column."""
    listed = TABLES[table].get(role, {}).get(privilege, frozenset())
    return listed == ALL or (column is not None and column in listed)


async def tried(connection: asyncpg.Connection, statement: str) -> bool:
    """Return whether the role may run ``statement``, which is rolled back. Other failures do not matter."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except Refused:
        return False
    except asyncpg.PostgresError:
        return True
    finally:
        await transaction.rollback()
    return True


def test_every_table_is_in_the_list(columns: dict[str, list[str]]) -> None:
    assert columns.keys() == TABLES.keys()


async def test_the_catalogue_grants_what_the_list_says_and_no_more(
    superuser: asyncpg.Connection, columns: dict[str, list[str]]
) -> None:
    granted: set[tuple[str, ...]] = set()
    listed: set[tuple[str, ...]] = set()
    version = int(await superuser.fetchval("SHOW server_version_num"))
    privileges = (*TABLE_PRIVILEGES, *(["MAINTAIN"] if version >= 170_000 else []))
    for table, names in columns.items():
        for role in ROLES:
            for privilege in privileges:
                if await superuser.fetchval(
                    "SELECT has_table_privilege($1, $2, $3)", role, f"{SCHEMA}.{table}", privilege
                ):
                    granted.add((table, role, privilege))
                if allowed(table, role, privilege):
                    listed.add((table, role, privilege))
            for privilege in COLUMN_PRIVILEGES:
                for name in names:
                    if await superuser.fetchval(
                        "SELECT has_column_privilege($1, $2, $3, $4)", role, f"{SCHEMA}.{table}", name, privilege
                    ):
                        granted.add((table, role, privilege, name))
                    if allowed(table, role, privilege, name):
                        listed.add((table, role, privilege, name))
    assert granted == listed


@pytest.mark.parametrize(
    ("schema", "roles"),
    [(SCHEMA, {SERVICE, OPERATOR, AUDITOR}), (VIEW_SCHEMA, VIEW_READERS)],
    ids=[SCHEMA, VIEW_SCHEMA],
)
async def test_no_other_role_was_granted_anything(
    superuser: asyncpg.Connection, schema: str, roles: frozenset[str]
) -> None:
    """Neither PUBLIC nor a role that the list does not know, on the schema and what is in it."""
    grantees = await superuser.fetch(
        "SELECT DISTINCT coalesce(rolname, 'PUBLIC') AS name FROM ("
        " SELECT (aclexplode(nspacl)).grantee FROM pg_namespace WHERE nspname = $1"
        " UNION ALL SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE relnamespace = $1::regnamespace"
        " UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid"
        " WHERE relnamespace = $1::regnamespace) AS granted LEFT JOIN pg_roles ON pg_roles.oid = grantee",
        schema,
    )
    assert {row["name"] for row in grantees} == {"funds_owner", *roles}


async def test_views_are_read_by_those_who_are_listed(
    superuser: asyncpg.Connection, connections: dict[str, asyncpg.Connection]
) -> None:
    views = await superuser.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'funds_audit'::regnamespace")
    assert {row["relname"] for row in views} == VIEWS
    for role in ROLES:
        for view in VIEWS:
            name = f"{VIEW_SCHEMA}.{view}"
            assert await tried(connections[role], f"SELECT * FROM {name}") == (role in VIEW_READERS), (role, view)
            for privilege in TABLE_PRIVILEGES:
                held = await superuser.fetchval("SELECT has_table_privilege($1, $2, $3)", role, name, privilege)
                assert held == (privilege == "SELECT" and role in VIEW_READERS), (role, view, privilege)
            for statement in (
                f"CREATE OR REPLACE VIEW {name} AS SELECT 1",
                f"ALTER VIEW {name} SET (security_invoker = true)",
                f"CREATE VIEW {VIEW_SCHEMA}.shadow AS SELECT 1",
                f"DROP VIEW {name}",
            ):
                assert not await tried(connections[role], statement), (role, statement)


@pytest.mark.parametrize("role", ROLES)
async def test_each_privilege_by_its_statement(
    connections: dict[str, asyncpg.Connection], columns: dict[str, list[str]], role: str
) -> None:
    wrong = []
    for table, names in columns.items():
        name = f"{SCHEMA}.{table}"
        cases = [
            ("SELECT", None, f"SELECT * FROM {name}"),
            ("DELETE", None, f"DELETE FROM {name}"),
            ("TRUNCATE", None, f"TRUNCATE {name} CASCADE"),
            ("TRIGGER", None, f"CREATE TRIGGER t BEFORE INSERT ON {name} EXECUTE FUNCTION {TRIGGER_FUNCTION}"),
            *(("SELECT", column, f"SELECT {column} FROM {name}") for column in names),
            *(("INSERT", column, f"INSERT INTO {name} ({column}) VALUES (DEFAULT)") for column in names),
            *(("UPDATE", column, f"UPDATE {name} SET {column} = DEFAULT WHERE false") for column in names),
        ]
        for privilege, column, statement in cases:
            if await tried(connections[role], statement) != allowed(table, role, privilege, column):
                wrong.append(statement)
    assert wrong == []


OWNERS_WORK = [
    "SET ROLE funds_owner",
    "SET SESSION AUTHORIZATION funds_owner",
    "SET session_replication_role = replica",
    "ALTER TABLE funds.{table} DISABLE TRIGGER ALL",
    "ALTER TABLE funds.{table} ADD COLUMN more text",
    "ALTER TABLE funds.{table} OWNER TO CURRENT_USER",
    "ALTER TABLE funds.{table} DISABLE ROW LEVEL SECURITY",
    "CREATE INDEX more ON funds.{table} ((1))",
    "CREATE RULE quiet AS ON INSERT TO funds.{table} DO INSTEAD NOTHING",
    "CREATE POLICY all_of_it ON funds.{table}",
    "COMMENT ON TABLE funds.{table} IS ''",
    "DROP TABLE funds.{table} CASCADE",
    "LOCK TABLE funds.{table} IN ACCESS EXCLUSIVE MODE",
    "CREATE TABLE funds.shadow ()",
    "CREATE VIEW funds.shadow AS SELECT 1",
    "CREATE SEQUENCE funds.shadow",
    "CREATE FUNCTION funds.shadow() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE funds.shadow AS (a int)",
    "CREATE TABLE public.shadow ()",
    "CREATE TEMPORARY TABLE shadow ()",
    "CREATE SCHEMA shadow",
    "CREATE EXTENSION hstore",
    "CREATE PUBLICATION shadow FOR ALL TABLES",
    "CREATE ROLE shadow",
    "CREATE DATABASE shadow",
    "ALTER ROLE funds_owner PASSWORD 'x'",
    "GRANT funds_operator TO CURRENT_USER",
    "GRANT funds_owner TO CURRENT_USER",
    "ALTER DEFAULT PRIVILEGES FOR ROLE funds_owner GRANT ALL ON TABLES TO PUBLIC",
    "ALTER SCHEMA funds RENAME TO other",
    "DROP SCHEMA funds CASCADE",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/shadow'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_reload_conf()",
    "SELECT setval('funds.ledgers_id_seq', 1)",
    "ALTER SYSTEM SET fsync = off",
    "CHECKPOINT",
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("statement", OWNERS_WORK)
async def test_privileges_that_only_the_owner_or_no_role_has(
    connections: dict[str, asyncpg.Connection], role: str, statement: str
) -> None:
    tables = TABLES if "{table}" in statement else ["none"]
    for table in tables:
        written = statement.format(table=table)
        if written.startswith(("ALTER SYSTEM", "CREATE DATABASE")):  # not in a transaction
            with pytest.raises(Refused):
                await connections[role].execute(written)
        else:
            assert not await tried(connections[role], written), written


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_hands_on_what_it_may_do(connections: dict[str, asyncpg.Connection], role: str) -> None:
    """PostgreSQL only warns where it grants a part of the privileges, so the test reads the catalogue afterwards."""
    for table in TABLES:
        for column in ("", "(id)"):
            await tried_for_good(connections[role], f"GRANT SELECT {column} ON {SCHEMA}.{table} TO PUBLIC")
    await test_no_other_role_was_granted_anything(connections[""], SCHEMA, frozenset({SERVICE, OPERATOR, AUDITOR}))


async def tried_for_good(connection: asyncpg.Connection, statement: str) -> None:
    with contextlib.suppress(Refused, asyncpg.UndefinedColumnError):
        await connection.execute(statement)


async def test_ways_around_a_missing_update(connections: dict[str, asyncpg.Connection]) -> None:
    for statement in (
        "INSERT INTO funds.ledgers TABLE funds.ledgers ON CONFLICT (id) DO UPDATE SET description = ''",
        "INSERT INTO funds.tokens (id, client, token_hash, scopes) VALUES (gen_random_uuid(), '', '', '{admin}')",
        "UPDATE funds.tokens SET scopes = '{admin}', ledgers = NULL, expires_at = NULL, revoked_at = NULL",
        "MERGE INTO funds.tokens USING (SELECT 1) AS one ON false WHEN NOT MATCHED THEN INSERT (client) VALUES ('me')",
        "WITH made AS (INSERT INTO funds.tokens (client) VALUES ('me') RETURNING client) SELECT * FROM made",
        "SELECT client FROM funds.tokens FOR UPDATE",
    ):
        assert not await tried(connections[SERVICE], statement), statement


async def test_the_reader_has_the_views_alone(connections: dict[str, asyncpg.Connection]) -> None:
    reader = connections[READER]
    assert await reader.fetchval("SHOW search_path") == VIEW_SCHEMA
    schemas = await reader.fetch(
        "SELECT nspname FROM pg_namespace WHERE has_schema_privilege(oid, 'USAGE') AND nspname !~ '^pg_'"
    )
    assert {row["nspname"] for row in schemas} == {VIEW_SCHEMA, "information_schema", "public"}
    assert await reader.fetch("SELECT attname FROM pg_stats WHERE schemaname = 'funds'") == []


async def test_hashes_of_tokens_are_not_for_the_auditor(connections: dict[str, asyncpg.Connection]) -> None:
    for statement in (
        "SELECT token_hash FROM funds.tokens",
        "SELECT * FROM funds.tokens",
        "SELECT tokens::text FROM funds.tokens",
        "SELECT to_json(tokens) FROM funds.tokens",
        "SELECT count(*) FROM funds.tokens WHERE token_hash > '\\x80'",
        "SELECT client FROM funds.tokens ORDER BY token_hash",
    ):
        assert not await tried(connections[AUDITOR], statement), statement
    assert await tried(connections[AUDITOR], "SELECT id, client, scopes, ledgers, expires_at FROM funds.tokens")
    shown = await connections[AUDITOR].fetch(
        "SELECT attname FROM pg_stats WHERE tablename = 'tokens' AND attname = 'token_hash'"
    )
    assert shown == []


async def test_sequences_schema_database_and_functions(superuser: asyncpg.Connection) -> None:
    async def holds(function: str, role: str, name: str, *privileges: str) -> set[str]:
        return {
            privilege
            for privilege in privileges
            if await superuser.fetchval(f"SELECT has_{function}_privilege($1, $2, $3)", role, name, privilege)
        }

    sequences = await names(
        superuser, "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'S'"
    )
    assert sequences == SEQUENCES.keys()
    assert await names(superuser, "SELECT proname FROM pg_proc WHERE pronamespace = $1::regnamespace") == set()
    database = await superuser.fetchval("SELECT current_database()")
    for role in ROLES:
        for sequence in sequences:
            found = await holds("sequence", role, f"{SCHEMA}.{sequence}", "USAGE", "SELECT", "UPDATE")
            assert found == SEQUENCES[sequence].get(role, set()), (role, sequence)
        assert await holds("schema", role, SCHEMA, "USAGE", "CREATE") == (set() if role == READER else {"USAGE"})
        views = {"USAGE"} if role in VIEW_READERS else set()
        assert await holds("schema", role, VIEW_SCHEMA, "USAGE", "CREATE") == views
        assert await holds("schema", role, "public", "CREATE") == set()
        assert await holds("database", role, database, "CONNECT", "CREATE", "TEMPORARY") == {"CONNECT"}


async def names(superuser: asyncpg.Connection, query: str) -> set[str]:
    return {row[0] for row in await superuser.fetch(query, SCHEMA)}


async def test_the_roles_are_ordinary_and_members_of_nothing(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolcanlogin,"
        " (SELECT count(*) FROM pg_auth_members WHERE member = pg_roles.oid) AS memberships"
        " FROM pg_roles WHERE rolname = ANY($1)",
        list(ROLES),
    )
    assert len(rows) == len(ROLES)
    for row in rows:
        facts: dict[str, Any] = dict(row)
        assert facts.pop("rolcanlogin") is True
        assert {name for name, value in facts.items() if value and name != "rolname"} == set(), row["rolname"]


async def test_roles_that_are_made_after_the_migrations(
    superuser: asyncpg.Connection, columns: dict[str, list[str]]
) -> None:
    """Running roles.sql again gives the operator's role what the migration could not give it."""
    await superuser.execute(f"REVOKE ALL ON {', '.join(f'{SCHEMA}.{table}' for table in columns)} FROM {OPERATOR}")
    await superuser.execute(ROLES_SQL.read_text())
    await test_the_catalogue_grants_what_the_list_says_and_no_more(superuser, columns)
