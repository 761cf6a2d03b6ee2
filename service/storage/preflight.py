"""What an operator's command asks of a database before it works on it, and the sentences when it cannot be used."""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy import NullPool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.storage.addresses import Address, DatabaseUnusableError, place
from service.storage.connecting import TlsRefusedError, connect
from service.storage.errors import NotConnectedError, described, first_line, reason

__all__ = ["DatabaseAwayError", "DatabaseUnusableError", "explained", "operator_engine", "place", "verify_server"]

SERVER_MAJOR_MIN = 15

_CONNECT_SECONDS_MAX = 10.0
_POOLER_SECONDS_MAX = 2.0
_POOLER_ROUNDS = 8
_APPLICATION_NAME = "funds command"


def operator_engine(url: str) -> AsyncEngine:
    """Return an engine without a pool and without the service's time limits: for migrations and single commands.

    Raises DatabaseUnusableError when the URL cannot be read.
    """
    address = Address.of(url)

    async def create_connection() -> Any:
        return await connect(address, application_name=_APPLICATION_NAME, timeout_seconds=_CONNECT_SECONDS_MAX)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=create_connection, poolclass=NullPool, hide_parameters=True
    )


class DatabaseAwayError(DatabaseUnusableError):
    """The database does not answer now, which may pass."""


async def verify_server(url: str) -> None:
    """Connect to ``url`` as the service does. Raises DatabaseUnusableError when that fails, when the server is too
    old, or when a pooler stands before it that changes sessions from one transaction to the next.
    """
    address = Address.of(url)
    with explained(url):
        connection = await _plain_session(address)
        try:
            major = connection.get_server_version().major
            lent = await _is_lent(connection, address)
        finally:
            connection.terminate()
    if major < SERVER_MAJOR_MIN:
        raise DatabaseUnusableError(
            f"The database at {address.place} is PostgreSQL {major}, and this service needs"
            f" {SERVER_MAJOR_MIN} or newer."
        )
    if lent:
        raise DatabaseUnusableError(
            f"At {address.place} answers a pooler in transaction mode, which gives a session's statements to changing"
            " servers: connect to PostgreSQL itself, or to a pool in session mode (PgBouncer: pool_mode = session)."
        )


async def _plain_session(address: Address) -> asyncpg.Connection:
    """Connect without anything that a pooler could hand on to somebody else: no settings, no prepared statements."""
    return await connect(
        address,
        application_name=_APPLICATION_NAME,
        timeout_seconds=_CONNECT_SECONDS_MAX,
        statement_cache_size=0,
    )


async def _is_lent(first: asyncpg.Connection, address: Address) -> bool:
    """Return whether a pooler gives the server of ``first`` to others while ``first`` is connected.

    PostgreSQL itself tells each session the process that serves it; a pooler tells something else. Then a second
    session takes part: in session mode each has a process of its own for good, in transaction mode they meet or change,
    at once in a quiet pool and after some rounds in a busy one.
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
    except TimeoutError:  # the pool has no server left for the second session, and does not take the first one's
        return False
    finally:
        second.terminate()
    return False


async def _serving_process(connection: asyncpg.Connection) -> int:
    async with connection.transaction():
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what keeps us from working on the database at ``url`` into a DatabaseUnusableError of one sentence."""
    try:
        yield
    except TlsRefusedError as error:
        raise DatabaseUnusableError(str(error)) from error
    except OSError as error:
        raise DatabaseAwayError(f"The database at {place(url)} cannot be reached: {_reason(error)}.") from error
    except NotConnectedError as error:
        raise DatabaseUnusableError(f"The database at {place(url)} refuses us: {reason(error)}.") from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise DatabaseUnusableError(f"The database at {place(url)} refuses us: {first_line(error)}.") from error
    except (asyncpg.PostgresError, DBAPIError) as error:
        raise DatabaseUnusableError(
            f"The database at {place(url)} answers with an error: {described(error)}."
        ) from error
    except asyncpg.ClientConfigurationError as error:
        raise DatabaseUnusableError(
            f"The database URL for {place(url)} cannot be used: {first_line(error)}."
        ) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError) as error:
        fault = described(error) or "a value of it is wrong"
        raise DatabaseUnusableError(f"The database URL for {place(url)} cannot be used: {fault}.") from error


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return error.strerror or "the host is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails ({error.reason or 'no reason given'})"
    if isinstance(error, TimeoutError) or error.errno is None:
        return str(error).partition("\n")[0] or "no answer in time"
    return os.strerror(error.errno)
