"""Checks of a database before an operator's command works on it, and the sentences for what is wrong with it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy import NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.errors import DatabaseAwayError, DatabaseUnusableError, NoServerError, NotConnectedError, TlsRefusedError
from service.storage.addresses import Address, location
from service.storage.connecting import connect
from service.storage.errors import described, first_line, reason, why_away

SERVER_MAJOR_MIN = 15

_CONNECT_SECONDS_MAX = 10.0
_POOLER_SECONDS_MAX = 2.0
_POOLER_ROUNDS = 8
_APPLICATION_NAME = "funds command"

_ADDED_TO = ("ledgers", "ledger_heads", "accounts", "transfers", "holds", "reversed_transfers", "decisions")
_APPEND_ONLY = ("transfers", "decisions")
_ROLE = text("""
    SELECT rolname, rolsuper,
           ARRAY(
               SELECT name FROM unnest(CAST(:append_only AS text[])) AS name
               WHERE has_any_column_privilege('funds.' || name, 'UPDATE')
                   OR has_table_privilege('funds.' || name, 'DELETE, TRUNCATE')
           ) AS changeable,
           ARRAY(
               SELECT name FROM unnest(CAST(:added_to AS text[])) AS name
               WHERE NOT has_any_column_privilege('funds.' || name, 'INSERT')
           ) AS lacking
    FROM pg_roles WHERE rolname = current_user
""")
"""Which of the tables a role may change although nobody should, and which it may not add to."""


def operator_engine(url: str) -> AsyncEngine:
    """Return a SQLAlchemy engine for migrations and single commands: without a pool or the service's time limits.

    Raises DatabaseUnusableError when the URL cannot be read.
    """
    address = Address.of(url)

    async def create_connection() -> Any:
        return await connect(address, application_name=_APPLICATION_NAME, timeout_seconds=_CONNECT_SECONDS_MAX)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=create_connection, poolclass=NullPool, hide_parameters=True
    )


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


async def verify_role(url: str) -> str | None:
    """Check that the role of ``url`` may add what the service adds, on a schema that is not behind; return a warning if
    it may also change what must stay as it is (a superuser, the owner): the database's half of that rule is missing
    then. None when it may not.

    Raises DatabaseUnusableError.
    """
    engine = operator_engine(url)
    try:
        with explained(url):
            async with engine.connect() as connection:
                tables = {"added_to": list(_ADDED_TO), "append_only": list(_APPEND_ONLY)}
                role = (await connection.execute(_ROLE, tables)).one()
    finally:
        await engine.dispose()
    told = f"The role {role.rolname} that connects to the database at {location(url)}"
    remedy = (
        "set FUNDS_DATABASE_URL to the URL of funds_service (`funds roles` makes that role), and"
        " FUNDS_MIGRATION_DATABASE_URL to the owner's."
    )
    if role.lacking:
        raise DatabaseUnusableError(f"{told} may not add rows to {', '.join(role.lacking)}: {remedy}")
    if role.rolsuper:
        return f"{told} is a superuser, whom no privilege keeps from changing what was posted: {remedy}"
    if role.changeable:
        names = ", ".join(role.changeable)
        return f"{told} may change or delete rows of {names}, which must stay as they were written: {remedy}"
    return None


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
    except (asyncpg.PostgresError, DBAPIError) as error:
        raise DatabaseUnusableError(
            f"The database at {location(url)} answers with an error: {described(error)}."
        ) from error
    except asyncpg.ClientConfigurationError as error:
        raise DatabaseUnusableError(
            f"The database URL for {location(url)} cannot be used: {first_line(error)}."
        ) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError) as error:
        fault = described(error) or "a value of it is wrong"
        raise DatabaseUnusableError(f"The database URL for {location(url)} cannot be used: {fault}.") from error
