"""Connections: one engine with its pool and sessions for one database URL."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Self

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from service.settings import Settings
from service.storage.addresses import Address
from service.storage.connecting import connect

_CLIENT_TIMEOUT_MARGIN_SECONDS = 2.0

# A batch's statements look up a known number of rows by their keys: a nested loop over the index is always right. Left
# to its statistics, which lag behind a table that has just begun to grow, the planner may scan the whole of it for
# every key (measured: 10 s instead of 20 ms for 10,000 keys on a fresh database).
_INDEX_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


class Database:
    """An engine and its session factory; close it when done.

    Sessions do not expire on commit: what was read stays readable after the transaction. The pool neither pings nor
    resets more than a rollback: a dead connection shows at the first statement, and the retry takes another.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False, autoflush=False)

    @classmethod
    def connect(cls, url: str, settings: Settings) -> Self:
        """Make the pool for ``url`` (``addresses`` lists its forms); nothing is sent before the first statement.

        Raises DatabaseUnusableError when the URL cannot be read.
        """
        return cls._connect(url, settings, pool_size=settings.pool_size, pool_max_overflow=settings.pool_max_overflow)

    @classmethod
    def connect_engine(cls, url: str, settings: Settings) -> Self:
        """Make the group commit's own pool: a connection for each batch in flight, which no other work can take, with
        the plans that its statements need.
        """
        return cls._connect(
            url,
            settings,
            pool_size=settings.batches_in_flight_max,
            pool_max_overflow=0,
            plans=_INDEX_PLANS,
        )

    @classmethod
    def _connect(
        cls,
        url: str,
        settings: Settings,
        *,
        pool_size: int,
        pool_max_overflow: int,
        plans: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        address = Address.of(url)

        async def create_connection() -> asyncpg.Connection:
            return await connect(
                address,
                application_name=settings.application_name,
                timeout_seconds=settings.connect_timeout_seconds,
                # The server's own limit ends a slow statement; the client's ends the wait for a server gone silent.
                command_timeout_seconds=settings.statement_timeout_ms / 1000 + _CLIENT_TIMEOUT_MARGIN_SECONDS,
                session_settings={
                    "statement_timeout": str(settings.statement_timeout_ms),
                    "lock_timeout": str(settings.lock_timeout_ms),
                    "idle_in_transaction_session_timeout": str(settings.statement_timeout_ms),
                    **plans,
                },
            )

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

    async def close(self) -> None:
        """Close every pooled connection, even if the caller is being cancelled."""
        await asyncio.shield(self.engine.dispose())
