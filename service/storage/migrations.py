"""The schema's version: bringing a database up to it, and refusing to work on one that is behind."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.storage.errors import Failure, classify
from service.storage.models import SCHEMA
from service.storage.preflight import DatabaseUnusableError, explained, operator_engine, place, verify_server

SCHEMA_REVISION = "0004"
"""The newest migration, and the oldest schema that this version of the service works on."""

VERSION_TABLE = "alembic_version"

_NO_REVISION = "0000"
_LOCK_WAIT_SECONDS_MAX = 120
_LOCK_KEY = 0x66756E6473  # "funds"
_CONFIGURATION = Path(__file__).parents[2] / "pyproject.toml"


class SchemaBehindError(Exception):
    """The database's schema is older than this version of the service needs."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"The database schema is at {revision}, this version needs {SCHEMA_REVISION}: run `funds migrate`."
        )
        self.revision = revision


async def upgrade(url: str) -> tuple[str, str]:
    """Bring the database at ``url`` up to SCHEMA_REVISION; return its revisions before and after.

    Safe to call from many instances at once: one migrates and the others wait for it, at most _LOCK_WAIT_SECONDS_MAX.
    A database that is beyond stays as it is. Raises DatabaseUnusableError.
    """

    def upgrade_if_behind(config: Config, revision: str) -> None:
        if revision < SCHEMA_REVISION:
            command.upgrade(config, SCHEMA_REVISION)

    return await _migrate(url, upgrade_if_behind)


async def downgrade(url: str, target: str) -> tuple[str, str]:
    """Take the database at ``url`` back to ``target`` ("base" for nothing); return its revisions before and after."""
    return await _migrate(url, lambda config, _: command.downgrade(config, target))


async def verify_revision(engine: AsyncEngine) -> str:
    """Return the revision of the schema. Raises SchemaBehindError when this version needs a newer one."""
    async with engine.connect() as connection:
        revision = await current_revision(connection)
    if revision < SCHEMA_REVISION:
        raise SchemaBehindError(revision)
    return revision


async def current_revision(connection: AsyncConnection) -> str:
    """Return the revision of the schema, "0000" where there is none. Revisions sort as text."""
    return await connection.run_sync(_current_revision)


async def _migrate(url: str, change: Callable[[Config, str], None]) -> tuple[str, str]:
    await verify_server(url)
    engine = operator_engine(url)
    try:
        with explained(url):
            async with engine.connect() as connection:
                return await connection.run_sync(_migrate_alone, url, change)
    finally:
        await engine.dispose()


def _migrate_alone(connection: Connection, url: str, change: Callable[[Config, str], None]) -> tuple[str, str]:
    """Run ``change`` while this session holds the lock of all migrations; the lock goes with the connection."""
    try:
        connection.execute(text(f"SET lock_timeout = '{_LOCK_WAIT_SECONDS_MAX}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
    except DBAPIError as error:
        if classify(error) is not Failure.CONTENTION:
            raise
        raise DatabaseUnusableError(
            f"Another process has been migrating the database at {place(url)} for {_LOCK_WAIT_SECONDS_MAX} seconds:"
            " wait for it to end, then try again."
        ) from error
    connection.commit()  # the lock belongs to the session, not to the transaction
    before = _current_revision(connection)
    connection.commit()
    config = Config(toml_file=_CONFIGURATION)
    config.attributes["connection"] = connection
    change(config, before)
    after = _current_revision(connection)
    connection.commit()
    return before, after


def _current_revision(connection: Connection) -> str:
    table = f"{SCHEMA}.{VERSION_TABLE}"
    if connection.scalar(text("SELECT to_regclass(:table)::text"), {"table": table}) is None:
        return _NO_REVISION
    return str(connection.scalar(text(f"SELECT version_num FROM {table}")) or _NO_REVISION)  # noqa: S608 - constants
