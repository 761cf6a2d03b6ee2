"""Pools of database connections: a SQLAlchemy engine and its sessions for one database URL."""

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self, cast

import asyncpg
import msgspec
from sqlalchemy import event, exc, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import QueuePool

from service.errors import NotConnectedError
from service.settings import Settings
from service.storage.addresses import Address
from service.storage.connecting import connect
from service.storage.errors import is_read_only
from service.storage.plans import follow
from service.storage.statement_spans import trace_driver, trace_engine

_CLIENT_TIMEOUT_MARGIN_SECONDS = 2.0

_IDLE_SECONDS_UNCHECKED = 5.0
"""How long a connection may be idle in the pool and still be used without a check that it answers."""
_CHECK_SECONDS_MAX = 0.3

_FAIL_IF_READ_ONLY = text(
    "DO $$ BEGIN IF current_setting('transaction_read_only')::boolean THEN"
    " RAISE read_only_sql_transaction USING MESSAGE = 'the database takes no writes'; END IF; END $$"
)

# A batch's statements look up a known number of rows by their keys: a nested loop over the index is always right. The
# planner's statistics lag behind a table that has just begun to grow, and with them it may scan the whole table for
# every key (measured: 10 s instead of 20 ms for 10,000 keys on a fresh database).
_INDEX_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

# A list reads an index in the list's order, and stops when it has as many rows as were asked for. A plan that finds all
# rows first and sorts them is never right. The planner chooses it nevertheless when it expects few rows, and it cannot
# know that one account has half of all transfers.
_ORDERED_PLANS = MappingProxyType(
    {
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "jit": "off",  # up to version 17, a plan that needs one of the above has a cost high enough to be compiled
    }
)


# One process of the server at a time, whatever is read: others have work to do. A plan for each slice: how much lies
# between its bounds is what a plan without them cannot know.
_MODEST_PLANS = MappingProxyType(
    {"max_parallel_workers_per_gather": "0", "jit": "off", "plan_cache_mode": "force_custom_plan"}
)

Session = AsyncSession
"""The session of one unit of work. Modules outside ``storage`` use this name, because they do not import SQLAlchemy."""


class PoolUsage(NamedTuple):
    """The connections of a pool: those in use, those that wait for work, and how many there may be."""

    used: int
    idle: int
    connections_max: int


class Database:
    """A SQLAlchemy engine with its pool and session factory for one database; ``close`` it when done.

    Sessions do not expire on commit: what was read stays readable after the transaction. When a connection returns to
    the pool, only a ROLLBACK resets it. A connection that was closed fails at its first statement, and the retry takes
    another one. A connection on which the server no longer answers shows nothing, so ``_IdleChecks`` checks those that
    may be such. A connection that may not write is replaced, together with all others in the pool.
    """

    def __init__(self, engine: AsyncEngine, *, connections_max: int) -> None:
        self.engine = engine
        self.connections_max = connections_max
        _IdleChecks().watch(engine)
        event.listen(engine.sync_engine, "handle_error", _replace_read_only)
        follow(engine)
        self.sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False, autoflush=False)

    @classmethod
    def connect(cls, url: str, settings: Settings) -> Self:
        """Make a pool of ``settings.pool_size`` connections to ``url`` (``addresses`` lists the forms of URLs), and
        ``settings.pool_max_overflow`` more at need. Nothing is sent before the first statement.

        Raises DatabaseUnusableError when the URL cannot be read.
        """
        return cls._connect(url, settings, pool_size=settings.pool_size, pool_max_overflow=settings.pool_max_overflow)

    @classmethod
    def connect_few(cls, url: str, settings: Settings, pool_size: int, *, more_at_need: int = 0) -> Self:
        """Make a pool of ``pool_size`` connections for one kind of work, and ``more_at_need`` more at need."""
        return cls._connect(url, settings, pool_size=pool_size, pool_max_overflow=more_at_need)

    @classmethod
    def connect_batches(cls, url: str, settings: Settings) -> Self:
        """Make the pool of group commit: a connection for each batch in flight, which no other work can take, with the
        planner's settings that the statements of a batch need.
        """
        return cls._connect(
            url, settings, pool_size=settings.batches_in_flight_max, pool_max_overflow=0, plans=_INDEX_PLANS
        )

    @classmethod
    def connect_verification(cls, url: str, settings: Settings) -> Self:
        """Make the pool of verification, one connection, on which the planner may choose how to read a whole ledger."""
        return cls._connect(url, settings, pool_size=1, pool_max_overflow=0, plans=_MODEST_PLANS)

    @classmethod
    def connect_dry_runs(cls, url: str, settings: Settings) -> Self:
        """Make the pool of dry runs: a connection for each one that runs, with the planner's settings of a batch."""
        return cls._connect(
            url, settings, pool_size=settings.dry_run_pool_size, pool_max_overflow=0, plans=_INDEX_PLANS
        )

    @classmethod
    def _connect(
        cls,
        url: str,
        settings: Settings,
        *,
        pool_size: int,
        pool_max_overflow: int,
        plans: Mapping[str, str] = _ORDERED_PLANS,
    ) -> Self:
        address = Address.of(url)

        async def create_connection() -> asyncpg.Connection:
            try:
                connection = await connect(
                    address,
                    application_name=settings.application_name,
                    timeout_seconds=settings.connect_timeout_seconds,
                    # The server's own limit ends a slow statement. The client's limit ends the wait for a server that
                    # no longer answers.
                    command_timeout_seconds=settings.statement_timeout_ms / 1000 + _CLIENT_TIMEOUT_MARGIN_SECONDS,
                    session_settings={
                        "statement_timeout": str(settings.statement_timeout_ms),
                        "lock_timeout": str(settings.lock_timeout_ms),
                        "idle_in_transaction_session_timeout": str(settings.statement_timeout_ms),
                        **plans,
                    },
                )
            except asyncpg.PostgresError as error:
                raise NotConnectedError from error
            if settings.traces_endpoint is not None:
                trace_driver(connection)
            return connection

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=create_connection,
            pool_size=pool_size,
            max_overflow=pool_max_overflow,
            pool_timeout=settings.pool_timeout_seconds,
            pool_recycle=settings.pool_recycle_seconds,
            pool_use_lifo=True,
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            json_serializer=lambda value: msgspec.json.encode(value).decode(),
            json_deserializer=msgspec.json.decode,
        )
        if settings.traces_endpoint is not None:
            trace_engine(engine)
        return cls(engine, connections_max=pool_size + pool_max_overflow)

    @property
    def usage(self) -> "PoolUsage":
        """How many connections the pool has now, and may have."""
        pool = cast("QueuePool", self.engine.sync_engine.pool)
        return PoolUsage(pool.checkedout(), pool.checkedin(), self.connections_max)

    async def verify_writable(self) -> None:
        """Check that the server takes writes; raise the error of a write (``errors.is_read_only``) if it does not.

        The check uses no table, so it waits for no lock.
        """
        async with self.engine.connect() as connection:
            await connection.execute(_FAIL_IF_READ_ONLY)

    async def close(self) -> None:
        """Close every pooled connection, even if the caller is being cancelled."""
        await asyncio.shield(self.engine.dispose())


def _replace_read_only(context: ExceptionContext) -> None:
    """Make the pool replace all its connections when one of them may not write.

    Whether a session may write is fixed when it begins: by the settings of its role and by the server that it reached.
    Without this, a pool would keep sessions that began while the role was read only, or that reached the old primary,
    long after the cause is gone.
    """
    if is_read_only(context.original_exception):
        context.is_disconnect = True


class _IdleChecks:
    """Checks, before a pooled connection is used, that the server answers on it: a connection that was idle for long,
    and every connection once another one of the pool has failed.

    A firewall or an address translation that drops a connection informs neither end. A statement that is sent on it
    waits for an answer that never comes, until the attempt's time is over.
    """

    def __init__(self) -> None:
        self._invalidated_at = 0.0

    def watch(self, engine: AsyncEngine) -> None:
        """Check the connections of ``engine`` when they leave its pool."""
        pool = engine.sync_engine.pool
        event.listen(pool, "checkin", self._note_return)
        event.listen(pool, "checkout", self._check_answer)
        event.listen(pool, "invalidate", self._note_invalidation)

    def _note_return(self, _: object, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    def _note_invalidation(self, _: object, __: object, ___: object) -> None:
        self._invalidated_at = time.monotonic()

    def _check_answer(self, connection: Any, record: Any, _: object) -> None:
        idle_since = record.info.get("idle_since")  # None for a new connection, which has just answered
        if idle_since is None or idle_since > max(time.monotonic() - _IDLE_SECONDS_UNCHECKED, self._invalidated_at):
            return
        try:
            connection.run_async(_await_answer)
        except Exception as error:
            # The other connections of the pool are probably dead, too: each is replaced when it is used next.
            raise exc.InvalidatePoolError from error


async def _await_answer(driver: asyncpg.Connection) -> None:
    """Wait until the server answers an empty statement. Raises TimeoutError, or the driver's error."""
    async with asyncio.timeout(_CHECK_SECONDS_MAX):
        await driver.execute("")
