"""Checks of a database before an operator's command works on it, and the sentences for what is wrong with it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from service.errors import DatabaseAwayError, DatabaseUnusableError, NoServerError, NotConnectedError, TlsRefusedError
from service.storage.addresses import Address, location
from service.storage.connecting import connect
from service.storage.errors import described, first_line, reason, why_away
from service.storage.schema import FIND_VERSION_TABLE, NO_REVISION, READ_REVISION, new_enough

SERVER_MAJOR_MIN = 15

_CONNECT_SECONDS_MAX = 10.0
_POOLER_SECONDS_MAX = 2.0
_POOLER_ROUNDS = 8
_APPLICATION_NAME = "funds command"

_ADDED_TO = ("ledgers", "ledger_heads", "accounts", "transfers", "holds", "reversed_transfers", "decisions")
_APPEND_ONLY = ("transfers", "decisions")
_ROLE = """
    SELECT rolname, rolsuper,
           ARRAY(
               SELECT name FROM unnest($1::text[]) AS name
               WHERE has_any_column_privilege('funds.' || name, 'UPDATE')
                   OR has_table_privilege('funds.' || name, 'DELETE, TRUNCATE')
           ) AS changeable,
           ARRAY(
               SELECT name FROM unnest($2::text[]) AS name
               WHERE NOT has_any_column_privilege('funds.' || name, 'INSERT')
           ) AS lacking
    FROM pg_roles WHERE rolname = current_user
"""
"""Which of the tables a role may change although nobody should, and which it may not add to."""
_LOSING = """
    SELECT string_agg(name || ' = ' || setting, ', ' ORDER BY name)
    FROM pg_settings
    WHERE setting = 'off' AND name IN ('fsync', 'full_page_writes', 'synchronous_commit')
        OR setting = 'local' AND name = 'synchronous_commit' AND current_setting('synchronous_standby_names') <> ''
"""
"""Which settings in force for the role have PostgreSQL acknowledge what a crash or a failover may lose."""


async def connect_command(address: Address) -> asyncpg.Connection:
    """Connect for an operator's command: without the service's time limits."""
    return await connect(address, application_name=_APPLICATION_NAME, timeout_seconds=_CONNECT_SECONDS_MAX)


@asynccontextmanager
async def command_session(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the database at ``url`` as ``connect_command`` does, for as long as the context lasts. What goes wrong
    meanwhile is raised as DatabaseUnusableError.
    """
    address = Address.of(url)
    with explained(url):
        connection = await connect_command(address)
        try:
            yield connection
        finally:
            connection.terminate()


async def verify_server(url: str) -> None:
    """Check that the service can use the database at ``url``, by connecting as the service does.

    Raises DatabaseUnusableError when that fails, when the server is too old, or when the connection reaches a pooler
    that gives each transaction of a session to another server process.
    """
    address = Address.of(url)
    with explained(url):
        connection = await _plain_session(address)
        try:
            major = connection.get_server_version().major
            changes_servers = await _changes_servers(connection, address)
        finally:
            connection.terminate()
    if major < SERVER_MAJOR_MIN:
        raise DatabaseUnusableError(
            f"The database at {address.location} is PostgreSQL {major}, and this service needs"
            f" {SERVER_MAJOR_MIN} or newer."
        )
    if changes_servers:
        raise DatabaseUnusableError(
            f"At {address.location} answers a pooler in transaction mode, which gives a session's statements to"
            " changing servers: connect to PostgreSQL itself, or to a pool in session mode"
            " (PgBouncer: pool_mode = session)."
        )


async def verify_schema(url: str) -> str:
    """Return the revision of the schema in the database at ``url``.

    Raises SchemaBehindError when the service needs a newer one, and DatabaseUnusableError.
    """
    async with command_session(url) as connection:
        there = await connection.fetchval(FIND_VERSION_TABLE) is not None
        revision = await connection.fetchval(READ_REVISION) if there else None
    return new_enough(revision or NO_REVISION)


async def verify_role(url: str) -> str | None:
    """Check that the role of ``url`` may add what the service adds, on a schema that is not behind; return a warning if
    it may also change what must stay as it is (a superuser, the owner): the database's half of that rule is missing
    then. None when it may not.

    Raises DatabaseUnusableError.
    """
    async with command_session(url) as connection:
        role = await connection.fetchrow(_ROLE, _APPEND_ONLY, _ADDED_TO)
    told = f"The role {role['rolname']} that connects to the database at {location(url)}"
    remedy = (
        "set FUNDS_DATABASE_URL to the URL of funds_service (`funds roles` makes that role), and"
        " FUNDS_MIGRATION_DATABASE_URL to the owner's."
    )
    if role["lacking"]:
        raise DatabaseUnusableError(f"{told} may not add rows to {', '.join(role['lacking'])}: {remedy}")
    if role["rolsuper"]:
        return f"{told} is a superuser, whom no privilege keeps from changing what was posted: {remedy}"
    if role["changeable"]:
        names = ", ".join(role["changeable"])
        return f"{told} may change or delete rows of {names}, which must stay as they were written: {remedy}"
    return None


async def verify_durability(url: str) -> str | None:
    """Return a warning if PostgreSQL acknowledges to the role of ``url`` what a crash or a failover may lose: its
    settings for the server, the database or the role say so. None when they do not.

    Raises DatabaseUnusableError.
    """
    async with command_session(url) as connection:
        losing = await connection.fetchval(_LOSING)
    if losing is None:
        return None
    return (
        f"The database at {location(url)} runs with {losing}: a crash or a failover may lose what was acknowledged."
        " Set it to on, for the server, the database and the role."
    )


async def _plain_session(address: Address) -> asyncpg.Connection:
    """Connect with no session settings and no prepared statements, which a pooler could leave to another session."""
    return await connect(
        address,
        application_name=_APPLICATION_NAME,
        timeout_seconds=_CONNECT_SECONDS_MAX,
        statement_cache_size=0,
    )


async def _changes_servers(first: asyncpg.Connection, address: Address) -> bool:
    """Return whether a pooler in transaction mode changes the server process of a session between transactions.

    PostgreSQL itself tells each session the number of the process that serves it; a pooler tells another number. In
    that case a second session is opened beside ``first``. In session mode, each of the two keeps a process of its own.
    In transaction mode, both get the same process or one of them gets another one: at once in a quiet pool, after some
    rounds in a busy one.
    """
    by_first = {await _serving_process(first)}
    if by_first == {first.get_server_pid()}:
        return False
    by_second: set[int] = set()
    second = await _plain_session(address)
    try:
        async with asyncio.timeout(_POOLER_SECONDS_MAX):
            for _ in range(_POOLER_ROUNDS):
                async with second.transaction():
                    by_second.add(await _serving_process(second))
                    if by_first & by_second or len(by_second) > 1:
                        return True
                    by_first.add(await _serving_process(first))
                if by_first & by_second or len(by_first) > 1:
                    return True
    except TimeoutError:  # the pool has no server for the second session, so the first one keeps its own
        return False
    finally:
        second.terminate()
    return False


async def _serving_process(connection: asyncpg.Connection) -> int:
    async with connection.transaction():
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn errors of work on the database at ``url`` into a DatabaseUnusableError whose text is one sentence."""
    try:
        yield
    except (NoServerError, TlsRefusedError):  # said already
        raise
    except OSError as error:
        raise DatabaseAwayError(f"The database at {location(url)} cannot be reached: {why_away(error)}.") from error
    except NotConnectedError as error:
        raise DatabaseUnusableError(f"The database at {location(url)} refuses us: {reason(error)}.") from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise DatabaseUnusableError(f"The database at {location(url)} refuses us: {first_line(error)}.") from error
    except asyncpg.PostgresError as error:
        raise answers_with_error(url, error) from error
    except asyncpg.ClientConfigurationError as error:
        raise DatabaseUnusableError(
            f"The database URL for {location(url)} cannot be used: {first_line(error)}."
        ) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError) as error:
        fault = described(error) or "a value of it is wrong"
        raise DatabaseUnusableError(f"The database URL for {location(url)} cannot be used: {fault}.") from error


def answers_with_error(url: str, error: Exception) -> DatabaseUnusableError:
    """Return what is raised in the place of an ``error`` that the database at ``url`` answered with."""
    return DatabaseUnusableError(f"The database at {location(url)} answers with an error: {described(error)}.")
