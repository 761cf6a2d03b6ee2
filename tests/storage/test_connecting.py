"""What our connections do without an option of the driver; it depends on inner parts of the driver."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.storage.addresses import Address
from service.storage.connecting import connect
from tests.support.commit_proxy import CommitProxy, commit_proxy
from tests.support.servers import TestDatabase


@pytest.fixture
async def proxy(shared_database: TestDatabase) -> AsyncIterator[CommitProxy]:
    """A way to the database over TCP."""
    async with commit_proxy(shared_database.service_url) as proxy:
        yield proxy


@pytest.fixture
async def connection(proxy: CommitProxy) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(Address.of(proxy.url), application_name="test", timeout_seconds=10)
    yield connection
    connection.terminate()


async def test_the_system_watches_idle_connections(connection: asyncpg.Connection) -> None:
    descriptor = connection._transport.get_extra_info("socket").fileno()
    with socket.socket(fileno=os.dup(descriptor)) as same:
        assert same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5_000


async def test_a_server_that_does_not_hear_of_a_cancellation_is_not_awaited(
    proxy: CommitProxy, connection: asyncpg.Connection
) -> None:
    waiting = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    proxy.fall_silent()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(10):
        while not connection.is_closed():  # noqa: ASYNC110 - the driver tells nobody
            await asyncio.sleep(0.01)


async def test_a_server_that_hears_of_a_cancellation_keeps_the_connection(connection: asyncpg.Connection) -> None:
    waiting = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0.5)
    assert await connection.fetchval("SELECT 1") == 1
