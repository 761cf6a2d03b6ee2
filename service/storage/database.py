"""Connections: one engine with its pool and sessions for one database URL."""

import asyncio
from typing import Self

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from service.settings import Settings

_CLIENT_TIMEOUT_MARGIN_SECONDS = 2.0


class Database:
    """An engine and its session factory; close it when done.

    Sessions do not expire on commit: what was read stays readable after the transaction. The pool neither pings nor
    resets more than a rollback: a dead connection shows at the first statement, and the retry takes another.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False, autoflush=False)

    @classmethod
    def connect(cls, url: str, settings: Settings, *, pool_size: int | None = None) -> Self:
        """Make the pool for ``url`` (any form that libpq understands); nothing is sent before the first statement."""

        async def create_connection() -> asyncpg.Connection:
            return await asyncpg.connect(
                dsn=plain_url(url),
                timeout=settings.connect_timeout_seconds,
                # The server's own limit ends a slow statement; the client's ends the wait for a server gone silent.
                command_timeout=settings.statement_timeout_ms / 1000 + _CLIENT_TIMEOUT_MARGIN_SECONDS,
                server_settings={
                    "application_name": settings.application_name,
                    "statement_timeout": str(settings.statement_timeout_ms),
                    "lock_timeout": str(settings.lock_timeout_ms),
                    "idle_in_transaction_session_timeout": str(settings.statement_timeout_ms),
                    "timezone": "UTC",
                },
            )

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=create_connection,
            pool_size=settings.pool_size if pool_size is None else pool_size,
            max_overflow=settings.pool_max_overflow,
            pool_timeout=settings.pool_timeout_seconds,
            pool_recycle=settings.pool_recycle_seconds,
            pool_use_lifo=True,
            isolation_level="READ COMMITTED",
            json_serializer=lambda value: msgspec.json.encode(value).decode(),
            json_deserializer=msgspec.json.decode,
        )
        return cls(engine)

    async def close(self) -> None:
        """Close every pooled connection, even if the caller is being cancelled."""
        await asyncio.shield(self.engine.dispose())


def plain_url(url: str) -> str:
    """Return ``url`` without SQLAlchemy's driver suffix: asyncpg wants ``postgresql://``."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}"
