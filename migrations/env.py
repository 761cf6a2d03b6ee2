"""Runs the migrations: on a connection handed over in ``config.attributes``, on one of its own, or as SQL text."""

import asyncio

from alembic import context
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from service.settings import Settings
from service.storage.migrations import operator_engine
from service.storage.rows import SCHEMA, Base
from service.storage.schema import VERSION_TABLE

# A migration that waits for a table's lock makes everybody behind it wait too, and requests wait for a second
# (FUNDS_LOCK_TIMEOUT_MS): it gives up before that, and is begun again (service/storage/migrations.py).
LIMIT_LOCK_WAITS = "SET lock_timeout = '500ms'"

# For Citus: a migration may change tables that point at each other. Elsewhere it is the name of nothing.
SHARD_AFTER_SHARD = "SET citus.multi_shard_modify_mode = 'sequential'"

# Asked first: CREATE SCHEMA IF NOT EXISTS wants the right to create one even where it exists.
MAKE_SCHEMA = """
DO $$ BEGIN
    IF to_regnamespace('funds') IS NULL THEN
        CREATE SCHEMA funds;
    END IF;
END $$
"""

# The service's role may add rows to any new table of the owner's; the version is none of its business.
PROTECT_VERSION_TABLE = """
DO $$ BEGIN
    IF to_regclass('funds.alembic_version') IS NOT NULL
        AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'funds_service')
    THEN
        REVOKE INSERT ON funds.alembic_version FROM funds_service;
    END IF;
END $$
"""


def run_offline() -> None:
    """Write the SQL of the migrations to standard output, all in one transaction; no database is asked."""
    configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.execute(LIMIT_LOCK_WAITS)
        context.execute(MAKE_SCHEMA)
        context.run_migrations()
        context.execute(PROTECT_VERSION_TABLE)


def run_online(connection: Connection) -> None:
    """Run the migrations on ``connection``, each in a transaction of its own: locks are not kept for the next one."""
    connection.execute(text(LIMIT_LOCK_WAITS))
    connection.execute(text(SHARD_AFTER_SHARD))
    connection.execute(text(MAKE_SCHEMA))
    connection.commit()
    configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text(PROTECT_VERSION_TABLE))
    connection.commit()


def limit_lock_waits_again(ctx: MigrationContext, *_: object, **__: object) -> None:
    """Undo what a migration that waits by itself has set for the session: it may not be the last one."""
    ctx.execute(LIMIT_LOCK_WAITS)


def configure(**options: object) -> None:
    """Configure Alembic the same way for every mode."""
    context.configure(
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
        compare_type=True,
        compare_server_default=True,
        on_version_apply=limit_lock_waits_again,
        **options,  # type: ignore[arg-type]
    )


async def connect_and_run() -> None:
    """Run the migrations on a connection of our own: the ``alembic`` command, without ``funds``."""
    settings = Settings.from_environment()
    url = settings.migration_database_url or settings.database_url
    if url is None:
        raise SystemExit("Set FUNDS_MIGRATION_DATABASE_URL or FUNDS_DATABASE_URL, or use `funds migrate`.")
    engine = operator_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run_online)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    run_offline()
elif (given := context.config.attributes.get("connection")) is not None:
    run_online(given)
else:
    asyncio.run(connect_and_run())
