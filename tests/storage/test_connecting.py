"""What our connections do without an option of the driver; it depends on inner parts of the driver."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from service.errors import DatabaseAwayError, Failure, NoServerError
from service.storage.addresses import Address
from service.storage.connecting import connect
from service.storage.errors import classify, reason
from service.storage.preflight import verify_server
from tests.support.commit_proxy import CommitProxy, commit_proxy
from tests.support.other_session import wait_until
from tests.support.servers import TestDatabase, free_port

TRIES = 5


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
    async with asyncio.timeout(30):
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


_SLOW_COMMITS = """
    CREATE SCHEMA slow
    CREATE TABLE commits (number integer);
    CREATE FUNCTION slow.wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON slow.commits DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION slow.wait()
"""


@pytest.fixture
async def superuser(shared_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection of ours to a database with a table to which every COMMIT takes half a second."""
    address = Address.of(shared_database.superuser_url)
    superuser = await connect(address, application_name="test", timeout_seconds=10)
    await superuser.execute(_SLOW_COMMITS)
    yield superuser
    await superuser.execute("DROP SCHEMA slow CASCADE")
    superuser.terminate()


@pytest.mark.parametrize("by", ["its caller", "its time limit"])
async def test_a_commit_is_never_cancelled(
    superuser: asyncpg.Connection, shared_database: TestDatabase, by: str
) -> None:
    """Cancelled, a primary with a synchronous standby would show what the standby does not have."""
    limit = 0.1 if by == "its time limit" else None
    connection = await connect(
        Address.of(shared_database.superuser_url),
        application_name="test",
        timeout_seconds=10,
        command_timeout_seconds=limit,
    )
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("INSERT INTO slow.commits VALUES (1)")
    committing = asyncio.create_task(transaction.commit())
    if limit is None:
        await asyncio.sleep(0.1)
        committing.cancel()
    with pytest.raises(TimeoutError if limit else asyncio.CancelledError):
        await committing
    await wait_until(connection.is_closed)

    async def committed() -> bool:
        return bool(await superuser.fetchval("SELECT count(*) FROM slow.commits"))

    await wait_until(committed)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a host that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def _several(proxy: CommitProxy, *ports: int, target: str = "read-write", database: str = "") -> Address:
    """Return the address of servers on these ports of this machine, and of the database behind ``proxy``."""
    parts = urlsplit(proxy.url)
    hosts = ",".join(f"127.0.0.1:{port}" for port in (*ports, parts.port))
    user = parts.netloc.rpartition("@")[0]
    return Address.of(
        f"postgresql://{user}@{hosts}{database or parts.path}?sslmode=disable&target_session_attrs={target}"
    )


async def _answers(address: Address) -> bool:
    connection = await connect(address, application_name="test", timeout_seconds=2)
    try:
        return bool(await connection.fetchval("SELECT true"))
    finally:
        connection.terminate()


async def test_a_server_that_is_away_or_silent_holds_nobody_up(proxy: CommitProxy, silent: int) -> None:
    """One that is away is passed over at once, a silent one after a quarter of a second."""
    address = _several(proxy, free_port(), silent, free_port())
    loop, took = asyncio.get_running_loop(), []
    for _ in range(TRIES):
        started = loop.time()
        assert await _answers(address)
        took.append(loop.time() - started)
    assert min(took) < 1, "the machine may be busy with others, but not each time"


async def test_why_none_of_several_servers_can_be_used(
    proxy: CommitProxy, shared_database: TestDatabase, silent: int
) -> None:
    """One that takes no writes, one that is away, one that is silent."""
    away = free_port()
    address = _several(proxy, away, silent)
    superuser = await asyncpg.connect(shared_database.superuser_url)
    role = f"ALTER ROLE funds_service IN DATABASE {await superuser.fetchval('SELECT current_database()')}"
    await superuser.execute(f"{role} SET default_transaction_read_only = on")
    try:
        with pytest.raises(NoServerError) as caught:
            await connect(address, application_name="test", timeout_seconds=0.5)
        assert await _answers(_several(proxy, away, target="any"))
    finally:
        await superuser.execute(f"{role} RESET default_transaction_read_only")
        await superuser.close()
    refusing, quiet, reading = (candidate.location for candidate in address.candidates)
    assert str(caught.value) == (
        f"The database cannot be reached at {address.location} ("
        f"{refusing}: Connection refused; {quiet}: no answer in time; {reading}: is not read-write)."
    )
    assert classify(caught.value) is Failure.UNAVAILABLE
    assert reason(caught.value) == str(caught.value)
    with pytest.raises(DatabaseAwayError, match="cannot be reached at"):
        await verify_server(_several(proxy, away, target="standby").url)


async def test_a_primary_answers_where_a_standby_is_preferred_and_none_is_there(proxy: CommitProxy) -> None:
    assert await _answers(_several(proxy, free_port(), target="prefer-standby"))


async def test_what_a_server_refuses_is_told_before_what_is_away(proxy: CommitProxy) -> None:
    gone = _several(proxy, free_port(), database="/no_such_database")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await connect(gone, application_name="test", timeout_seconds=2)
