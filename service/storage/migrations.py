"""Migrations of the database's schema, and the check that a schema is as new as this version of the service needs."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random

from service.data_files import MIGRATIONS
from service.errors import DatabaseUnusableError, Failure, TableInUseError
from service.storage.addresses import Address, location
from service.storage.errors import classify
from service.storage.preflight import answers_with_error, connect_command, explained, verify_server
from service.storage.schema import FIND_VERSION_TABLE, NO_REVISION, READ_REVISION, SCHEMA_REVISION, new_enough

_LOCK_WAIT_SECONDS_MAX = 120
_LOCK_LOOK_SECONDS = 0.2
_LOCK_KEY = 0x66756E6473  # "funds"

_TRIES_SECONDS_MAX = 60
"""How long a migration is begun again that did not get a table to itself: something uses the table for long. Whoever
comes later waits behind each try, which therefore ends soon (``migrations/env.py``), and goes on between two.
"""
_PAUSE_SECONDS = (0.5, 1.5)


async def upgrade(url: str, *, scripts: Path = MIGRATIONS, target: str = SCHEMA_REVISION) -> tuple[str, str]:
    """Migrate the database at ``url`` to ``target``, a revision in ``scripts``; return its revisions before and after.

    Safe to call from many processes at once: one migrates and the others wait for it, at most _LOCK_WAIT_SECONDS_MAX.
    A database with a newer revision stays as it is. Raises DatabaseUnusableError.
    """

    def upgrade_if_behind(connection: Connection, revision: str) -> None:
        if revision < target:
            _run_migrations(connection, "upgrade", target, scripts)

    return await _migrate(url, upgrade_if_behind)


async def downgrade(url: str, target: str) -> tuple[str, str]:
    """Migrate the database at ``url`` back to the revision ``target`` ("base" for an empty schema); return its
    revisions before and after.
    """
    return await _migrate(url, lambda connection, _: _run_migrations(connection, "downgrade", target, MIGRATIONS))


async def verify_revision(engine: AsyncEngine) -> str:
    """Return the revision of the database's schema. Raises SchemaBehindError when the service needs a newer one."""
    async with engine.connect() as connection:
        return new_enough(await current_revision(connection))


async def current_revision(connection: AsyncConnection) -> str:
    """Return the revision of the database's schema, "0000" where there is none. Revisions sort as text."""
    return await connection.run_sync(_current_revision)


def operator_engine(url: str) -> AsyncEngine:
    """Return a SQLAlchemy engine for migrations: without a pool or the service's time limits.

    Raises DatabaseUnusableError when the URL cannot be read.
    """
    address = Address.of(url)

    async def create_connection() -> Any:
        return await connect_command(address)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=create_connection, poolclass=NullPool, hide_parameters=True
    )


async def _migrate(url: str, change: Callable[[Connection, str], None]) -> tuple[str, str]:
    await verify_server(url)
    engine = operator_engine(url)

    async def attempt() -> tuple[str, str]:
        async with engine.connect() as connection:
            await _lock(connection, url)
            return await connection.run_sync(_migrate_alone, change)

    again = AsyncRetrying(
        retry=retry_if_exception_type(TableInUseError),
        stop=stop_after_delay(_TRIES_SECONDS_MAX),
        wait=wait_random(*_PAUSE_SECONDS),
        reraise=True,
    )
    try:
        with explained(url):
            return await again(attempt)
    except TableInUseError as error:
        raise DatabaseUnusableError(
            f"A table of the database at {location(url)} that must be changed has been in use for {_TRIES_SECONDS_MAX}"
            " seconds: end what holds it (pg_stat_activity, pg_locks), then run the migration again; it goes on where"
            " it stopped."
        ) from error
    except DBAPIError as error:
        raise answers_with_error(url, error) from error
    finally:
        await engine.dispose()


async def _lock(connection: AsyncConnection, url: str) -> None:
    """Wait until this session has the lock of all migrations, which ends with the connection.

    It is asked for again and again: whoever waited in a statement would be waited for by a migration that makes an
    index CONCURRENTLY, for ever.
    """
    try:
        async with asyncio.timeout(_LOCK_WAIT_SECONDS_MAX):
            while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}):
                await connection.commit()
                await asyncio.sleep(_LOCK_LOOK_SECONDS)
    except TimeoutError as error:
        raise DatabaseUnusableError(
            f"Another process has been migrating the database at {location(url)} for {_LOCK_WAIT_SECONDS_MAX} seconds:"
            " wait for it to end, then try again."
        ) from error
    await connection.commit()  # the lock belongs to the session, not to the transaction


def _migrate_alone(connection: Connection, change: Callable[[Connection, str], None]) -> tuple[str, str]:
    """Run ``change``, and return the revisions before and after, on a session that has the lock of all migrations."""
    before = _current_revision(connection)
    connection.commit()
    try:
        change(connection, before)
    except DBAPIError as error:
        if classify(error) is not Failure.CONTENTION:
            raise
        raise TableInUseError from error
    after = _current_revision(connection)
    connection.commit()
    return before, after


def _run_migrations(
    connection: Connection, direction: Literal["upgrade", "downgrade"], target: str, scripts: Path
) -> None:
    # Loaded here: it takes a sixth of the time in which a process starts, and most processes only read the revision.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    run = command.upgrade if direction == "upgrade" else command.downgrade
    run(config, target)


def _current_revision(connection: Connection) -> str:
    if connection.exec_driver_sql(FIND_VERSION_TABLE).scalar() is None:
        return NO_REVISION
    return str(connection.exec_driver_sql(READ_REVISION).scalar() or NO_REVISION)
