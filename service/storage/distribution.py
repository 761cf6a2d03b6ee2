"""How tables are distributed over the nodes of Citus, an extension of PostgreSQL: by the ledger of each row, which is
the first column of its table and in all its keys, so that a ledger lies on one node. What all ledgers share is on every
node.
"""

from collections.abc import Sequence

import asyncpg
from msgspec import Struct

from service.errors import DatabaseUnusableError
from service.storage.addresses import location
from service.storage.errors import first_line
from service.storage.preflight import command_session, verify_schema, verify_server
from service.storage.schema import SCHEMA

CITUS_MAJOR_MIN = 13
SHARDS, SHARDS_MAX = 32, 1_024
"""Into how many shards the ledgers are divided: a node has at most as many that it can be given."""

REFERENCE_TABLES = ("ledgers", "tokens", "token_uses", "alembic_version")
DISTRIBUTED_TABLES = (
    "ledger_heads",
    "accounts",
    "holds",
    "transfers",
    "reversed_transfers",
    "decisions",
    "history",
    "log_tiles",
    "log_checkpoints",
    "log_cosignatures",
    "verifications",
)
"""The shards of all of them that hold the same ledgers are on the same node: those of the first one say where."""
_KEY = "ledger_id"

_CITUS = "SELECT extversion FROM pg_extension WHERE extname = 'citus'"
_GROUP = "SELECT groupid FROM pg_dist_local_group"
_NODES = """
    SELECT groupid, nodename, nodeport, nodename || ':' || nodeport AS place, shouldhaveshards,
           isactive AND hasmetadata AND metadatasynced AS usable
    FROM pg_dist_node WHERE noderole = 'primary' ORDER BY nodeid
"""
_ANSWERS = "SELECT citus_check_connection_to_node($1, $2)"
_OWNS = "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = $1::text::regclass"
_OTHERS = """
    SELECT coalesce(nullif(application_name, ''), 'no name') || ' ' || count(*) AS told FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL
      AND application_name NOT ILIKE 'citus%'
    GROUP BY application_name ORDER BY 1
"""
_STATES = """
    SELECT name, CASE WHEN partmethod = 'h' THEN column_to_column_name(logicalrelid, partkey)
                      WHEN partmethod = 'n' AND repmodel = 't' THEN '' END AS key, colocationid
    FROM unnest($1::text[]) AS name
    LEFT JOIN pg_dist_partition ON logicalrelid = ('funds.' || name)::regclass
"""
_FOREIGN_KEYS = """
    SELECT conname AS name, conrelid::regclass::text AS table, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint
    WHERE contype = 'f' AND conrelid = ANY($1::text[]::regclass[])
      AND (conrelid = ANY($2::text[]::regclass[]) OR confrelid = ANY($2::text[]::regclass[]))
    ORDER BY conrelid::regclass::text, conname
"""


class _State(Struct, frozen=True):
    """Which tables are not distributed yet, of those that are on every node and of those that are by ledger."""

    references: list[str]
    distributed: list[str]

    @property
    def is_complete(self) -> bool:
        return not self.references and not self.distributed


async def distribute(url: str, *, shards: int = SHARDS, dry_run: bool = False) -> list[str]:
    """Distribute the tables of the database at ``url`` that are not yet, all of them or none, and return what was done,
    a sentence each; no sentence where nothing was to be done. Tables that are distributed for the first time get
    ``shards`` shards. With ``dry_run`` nothing is changed, and the sentences say what would be done.

    Raises DatabaseUnusableError where the server is no coordinator of Citus, a node does not answer, the role may not
    do it or others use the database, and SchemaBehindError.
    """
    await verify_server(url)
    await verify_schema(url)
    async with command_session(url) as connection:
        try:
            await _check_citus(connection, url)
            state = await _state(connection, url)
            if state.is_complete:
                return []
            await _check_quiet(connection, url)
            keys = await _foreign_keys(connection, state)
            if not dry_run:
                async with connection.transaction():
                    await _distribute(connection, state, keys, shards)
                    if not (await _state(connection, url)).is_complete:
                        raise DatabaseUnusableError(f"Citus at {location(url)} did not distribute all tables.")
            return _told(state, keys, shards)
        except asyncpg.InsufficientPrivilegeError as error:
            raise DatabaseUnusableError(
                f"The role that connects to the database at {location(url)} may not make on its nodes what the tables"
                f" need ({first_line(error)}): let FUNDS_MIGRATION_DATABASE_URL be a superuser's for this command."
            ) from error


async def _check_citus(connection: asyncpg.Connection, url: str) -> None:
    """Check that the server is the coordinator of a Citus that is new enough, and that all nodes answer."""
    place = location(url)
    version = await connection.fetchval(_CITUS)
    if version is None:
        raise DatabaseUnusableError(
            f"The database at {place} has no Citus: on each node, set shared_preload_libraries = 'citus', and let a"
            " superuser run CREATE EXTENSION citus in this database."
        )
    if int(version.partition(".")[0]) < CITUS_MAJOR_MIN:
        raise DatabaseUnusableError(f"The database at {place} has Citus {version}, and {CITUS_MAJOR_MIN} is needed.")
    if await connection.fetchval(_GROUP) != 0:
        raise DatabaseUnusableError(f"The database at {place} is a node of Citus: distribute on its coordinator.")
    nodes = await connection.fetch(_NODES)
    if not any(node["groupid"] == 0 for node in nodes):
        raise DatabaseUnusableError(
            f"The coordinator at {place} is not among its own nodes: run SELECT citus_set_coordinator_host(host)."
        )
    if not any(node["shouldhaveshards"] for node in nodes):
        raise DatabaseUnusableError(f"The coordinator at {place} has no nodes: run SELECT citus_add_node(host, port).")
    unusable = [node["place"] for node in nodes if not node["usable"]]
    if unusable:
        raise DatabaseUnusableError(
            f"Of the nodes of {place}, {', '.join(unusable)} is not active, or does not have the metadata yet"
            " (citus.enable_metadata_sync)."
        )
    for node in nodes:
        if not await connection.fetchval(_ANSWERS, node["nodename"], node["nodeport"]):
            raise DatabaseUnusableError(f"The coordinator at {place} cannot connect to its node {node['place']}.")


async def _check_quiet(connection: asyncpg.Connection, url: str) -> None:
    """Check that the role owns the tables, and that nobody else uses them."""
    if not await connection.fetchval(_OWNS, f"{SCHEMA}.{DISTRIBUTED_TABLES[0]}"):
        raise DatabaseUnusableError(
            f"The role that connects to the database at {location(url)} does not own its tables: set"
            " FUNDS_MIGRATION_DATABASE_URL to the owner's URL."
        )
    others = [row["told"] for row in await connection.fetch(_OTHERS)]
    if others:
        raise DatabaseUnusableError(
            f"Other sessions use the database at {location(url)} ({', '.join(others)}): stop all instances first."
        )


async def _state(connection: asyncpg.Connection, url: str) -> _State:
    """Return what is to be done. Raises DatabaseUnusableError where a table is distributed otherwise."""
    rows = await connection.fetch(_STATES, [*REFERENCE_TABLES, *DISTRIBUTED_TABLES])
    by_name = {row["name"]: row for row in rows}
    places = {by_name[name]["colocationid"] for name in DISTRIBUTED_TABLES} - {None}
    otherwise = [name for name in REFERENCE_TABLES if by_name[name]["key"]]
    otherwise += [name for name in DISTRIBUTED_TABLES if by_name[name]["key"] not in {None, _KEY}]
    if otherwise or len(places) > 1:
        told = f"{', '.join(otherwise)} otherwise" if otherwise else f"tables by {_KEY} in different places"
        raise DatabaseUnusableError(
            f"The database at {location(url)} has distributed {told}: SELECT undistribute_table(…) takes that back."
        )
    return _State(
        [name for name in REFERENCE_TABLES if by_name[name]["key"] is None],
        [name for name in DISTRIBUTED_TABLES if by_name[name]["key"] is None],
    )


async def _foreign_keys(connection: asyncpg.Connection, state: _State) -> Sequence[asyncpg.Record]:
    """Return the foreign keys from and to the tables that are to be distributed."""
    every = [f"{SCHEMA}.{name}" for name in (*REFERENCE_TABLES, *DISTRIBUTED_TABLES)]
    changed = [f"{SCHEMA}.{name}" for name in (*state.references, *state.distributed)]
    return list(await connection.fetch(_FOREIGN_KEYS, every, changed))


async def _distribute(
    connection: asyncpg.Connection, state: _State, keys: Sequence[asyncpg.Record], shards: int
) -> None:
    """Distribute the tables. Citus takes no table that foreign keys lead from or to: they are dropped, and added."""
    await connection.execute(
        "SET LOCAL client_min_messages = warning; SET LOCAL citus.multi_shard_modify_mode = sequential"
    )
    for key in keys:
        await connection.execute(f'ALTER TABLE {key["table"]} DROP CONSTRAINT "{key["name"]}"')
    for name in state.references:
        await connection.execute("SELECT create_reference_table($1::text::regclass)", f"{SCHEMA}.{name}")
    for name in state.distributed:
        table, first = f"{SCHEMA}.{name}", f"{SCHEMA}.{DISTRIBUTED_TABLES[0]}"
        if table == first:
            made = "SELECT create_distributed_table($1::text::regclass, $2, colocate_with => 'none', shard_count => $3)"
            await connection.execute(made, table, _KEY, shards)
        else:
            made = "SELECT create_distributed_table($1::text::regclass, $2, colocate_with => $3)"
            await connection.execute(made, table, _KEY, first)
    for name in (*state.references, *state.distributed):
        copied = "SELECT truncate_local_data_after_distributing_table($1::text::regclass)"
        await connection.execute(copied, f"{SCHEMA}.{name}")
    for key in keys:
        await connection.execute(f'ALTER TABLE {key["table"]} ADD CONSTRAINT "{key["name"]}" {key["definition"]}')


def _told(state: _State, keys: Sequence[asyncpg.Record], shards: int) -> list[str]:
    told = []
    if state.references:
        told.append(f"On every node: {', '.join(state.references)}.")
    if state.distributed:
        first = f", {shards} shards" if DISTRIBUTED_TABLES[0] in state.distributed else ""
        told.append(f"By {_KEY}{first}: {', '.join(state.distributed)}.")
    if keys:
        told.append(f"Foreign keys dropped and added again: {', '.join(key['name'] for key in keys)}.")
    return told
