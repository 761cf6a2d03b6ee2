"""What an operator's command asks of a database before it works on it, and the sentences when it cannot be used."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
from sqlalchemy import NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.storage.database import plain_url

SERVER_MAJOR_MIN = 15

_CONNECT_SECONDS_MAX = 10.0


class DatabaseUnusableError(Exception):
    """The database cannot be used; the message is one sentence for the operator and names no password."""


def operator_engine(url: str) -> AsyncEngine:
    """Return an engine without a pool and without the service's time limits: for migrations and single commands."""

    async def create_connection() -> Any:
        return await asyncpg.connect(
            dsn=plain_url(url),
            timeout=_CONNECT_SECONDS_MAX,
            server_settings={"application_name": "funds command", "timezone": "UTC"},
        )

    return create_async_engine("postgresql+asyncpg://", async_creator=create_connection, poolclass=NullPool)


async def verify_server(url: str) -> None:
    """Connect to ``url`` once. Raises DatabaseUnusableError when that fails or the server is too old."""
    engine = operator_engine(url)
    try:
        with explained(url):
            async with engine.connect() as connection:
                number = int(str(await connection.scalar(text("SHOW server_version_num"))))
    finally:
        await engine.dispose()
    if number // 10_000 < SERVER_MAJOR_MIN:
        raise DatabaseUnusableError(
            f"The database at {place(url)} is PostgreSQL {number // 10_000}, and this service needs"
            f" {SERVER_MAJOR_MIN} or newer."
        )


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what keeps us from working on the database at ``url`` into a DatabaseUnusableError of one sentence."""
    try:
        yield
    except OSError as error:
        reason = _reason(error)
        raise DatabaseUnusableError(f"The database at {place(url)} cannot be reached: {reason}.") from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise DatabaseUnusableError(f"The database at {place(url)} refuses us: {error}.") from error
    except asyncpg.PostgresError as error:
        raise DatabaseUnusableError(f"The database at {place(url)} answers with an error: {error}.") from error
    except DBAPIError as error:
        cause = str(error.orig).partition("\n")[0].rpartition(">: ")[2]
        raise DatabaseUnusableError(f"The database at {place(url)} answers with an error: {cause}.") from error
    except (asyncpg.InterfaceError, ValueError) as error:
        raise DatabaseUnusableError(f"The database URL for {place(url)} cannot be used: {error}.") from error


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return error.strerror or "the host is not known"
    if isinstance(error, TimeoutError) or error.errno is None:
        return str(error).partition("\n")[0] or "no answer in time"
    return os.strerror(error.errno)


def place(url: str) -> str:
    """Return host and port of ``url`` as a person would write them, without user or password."""
    try:
        parts = urlsplit(plain_url(url))
        host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
        return f"{unquote(host)}:{parts.port}" if parts.port else unquote(host)
    except ValueError:
        return "the given URL"
