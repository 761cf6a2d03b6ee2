"""Connections: one engine with its pool and sessions for one database URL."""

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import asyncpg
import msgspec
from sqlalchemy import event, exc, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from service.settings import Settings
from service.storage.addresses import Address
from service.storage.connecting import connect
from service.storage.errors import NotConnectedError, is_read_only

_CLIENT_TIMEOUT_MARGIN_SECONDS = 2.0

_IDLE_SECONDS_UNCHECKED = 5.0
"""How long a connection may lie in the pool and still be used without a look whether it answers."""
_CHECK_SECONDS_MAX = 0.3

_FAIL_IF_READ_ONLY = text(
    "DO $$ BEGIN IF current_setting('transaction_read_only')::boolean THEN"
    " RAISE read_only_sql_transaction USING MESSAGE = 'the database takes no writes'; END IF; END $$"
)

# A batch's statements look up a known number of rows by their keys: a nested loop over the index is always right. Left
# to its statistics, which lag behind a table that has just begun to grow, the planner may scan the whole of it for
# every key (measured: 10 s instead of 20 ms for 10,000 keys on a fresh database).
_INDEX_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

# A list walks an index in the list's order, and stops when it has what was asked for. A plan that finds everything
# first and sorts it is never right; the planner takes it nevertheless when it expects few rows, and it cannot know that
# one account has half of all transfers.
_ORDERED_PLANS = MappingProxyType(
    {
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "jit": "off",  # up to version 17, a plan that cannot do without one of these looks expensive enough to compile
    }
)


class Database:
    """An engine and its session factory; close it when done.

    Sessions do not expire on commit: what was read stays readable after the transaction. The pool resets no more than
    a rollback. A connection that was ended shows it at the first statement, and the retry takes another; one that fell
    silent shows nothing, so ``_Suspicion`` looks whether it answers when there is a reason to doubt it. One that may
    not write is replaced, and so are those beside it.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        _Suspicion().watch(engine)
        event.listen(engine.sync_engine, "handle_error", _give_up_read_only)
        self.sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False, autoflush=False)

    @classmethod
    def connect(cls, url: str, settings: Settings) -> Self:
        """Make a pool for ``url`` (``addresses`` lists its forms) of ``settings.pool_size`` connections and some more
        for a time; nothing is sent before the first statement.

        Raises DatabaseUnusableError when the URL cannot be read.
        """
        return cls._connect(url, settings, pool_size=settings.pool_size, pool_max_overflow=settings.pool_max_overflow)

    @classmethod
    def connect_few(cls, url: str, settings: Settings, pool_size: int, *, for_a_time: int = 0) -> Self:
        """Make a pool of ``pool_size`` connections for one kind of work, and ``for_a_time`` more at need."""
        return cls._connect(url, settings, pool_size=pool_size, pool_max_overflow=for_a_time)

    @classmethod
    def connect_engine(cls, url: str, settings: Settings) -> Self:
        """Make the group commit's own pool: a connection for each batch in flight, which no other work can take, with
        the plans that its statements need.
        """
        return cls._connect(
            url, settings, pool_size=settings.batches_in_flight_max, pool_max_overflow=0, plans=_INDEX_PLANS
        )

    @classmethod
    def connect_rehearsals(cls, url: str, settings: Settings) -> Self:
        """Make the pool of dry runs: a connection for each that runs, with the plans that the engine has."""
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
                return await connect(
                    address,
                    application_name=settings.application_name,
                    timeout_seconds=settings.connect_timeout_seconds,
                    # The server's own limit ends a slow statement; the client's the wait for a server gone silent.
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
        return cls(engine)

    async def verify_writable(self) -> None:
        """Reach the server, and raise what a write would (``errors.is_read_only``) where it takes none; no table is
        touched, nor waited for.
        """
        async with self.engine.connect() as connection:
            await connection.execute(_FAIL_IF_READ_ONLY)

    async def close(self) -> None:
        """Close every pooled connection, even if the caller is being cancelled."""
        await asyncio.shield(self.engine.dispose())


def _give_up_read_only(context: ExceptionContext) -> None:
    """Have a pool replace its connections when one of them may not write.

    Whether a session may write is settled when it begins, by its role's settings and by the server that it reached. A
    pool would keep those that began while the role was set to read only, or that an address led to the old server, long
    after either was mended.
    """
    if is_read_only(context.original_exception):
        context.is_disconnect = True


class _Suspicion:
    """Which connections of a pool are looked at before they are used: those that lay idle for long, and all others once
    one of them ended badly.

    A firewall or an address translation that forgets a connection tells neither end. Whoever then sends a statement
    waits for an answer that never comes, as long as a try may last.
    """

    def __init__(self) -> None:
        self._doubted_at = 0.0

    def watch(self, engine: AsyncEngine) -> None:
        """Look at the connections of ``engine`` when they leave its pool."""
        pool = engine.sync_engine.pool
        event.listen(pool, "checkin", self._lay_down)
        event.listen(pool, "checkout", self._pick_up)
        event.listen(pool, "invalidate", self._doubt)

    def _lay_down(self, _: object, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    def _doubt(self, _: object, __: object, ___: object) -> None:
        self._doubted_at = time.monotonic()

    def _pick_up(self, connection: Any, record: Any, _: object) -> None:
        idle_since = record.info.get("idle_since")  # a new connection has answered a moment ago
        if idle_since is None or idle_since > max(time.monotonic() - _IDLE_SECONDS_UNCHECKED, self._doubted_at):
            return
        try:
            connection.run_async(_ask)
        except Exception as error:
            # Those that lay beside it have met the same fate: all are replaced, each when it is wanted next.
            raise exc.InvalidatePoolError from error


async def _ask(driver: asyncpg.Connection) -> None:
    """Wait for any answer of the server, without a transaction. Raises what tells that none came in time."""
    async with asyncio.timeout(_CHECK_SECONDS_MAX):
        await driver.execute("")
