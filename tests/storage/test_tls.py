"""Connections to another host use TLS or fail with one sentence; tested with a PostgreSQL of the system's packages."""

from collections.abc import Callable, Iterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.errors import DatabaseUnusableError, Failure
from service.settings import Settings
from service.storage.database import Database
from service.storage.errors import classify
from service.storage.migrations import operator_engine, upgrade
from service.storage.preflight import verify_server
from tests.support.debian import PASSWORD, DebianPostgres, debian_postgres, other_address
from tests.support.servers import run_funds

ENCRYPTED = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")

Open = Callable[[str], AsyncEngine]

OPENERS: list[Open] = [
    operator_engine,
    lambda url: Database.connect(url, Settings()).engine,
    lambda url: Database.connect_batches(url, Settings()).engine,
]


@pytest.fixture(scope="module")
def address() -> str:
    found = other_address()
    if found is None:
        pytest.skip("this machine has no address but loopback")
    return found


@pytest.fixture(scope="module")
def with_tls() -> Iterator[DebianPostgres]:
    with debian_postgres(tls=True) as server:
        yield server


@pytest.fixture(scope="module")
def without_tls() -> Iterator[DebianPostgres]:
    with debian_postgres(tls=False) as server:
        yield server


async def encrypted(open_engine: Open, url: str) -> bool:
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            return bool(await connection.scalar(ENCRYPTED))
    finally:
        await engine.dispose()


@pytest.mark.parametrize("opener", OPENERS)
async def test_another_host_is_spoken_to_with_tls(with_tls: DebianPostgres, address: str, opener: Open) -> None:
    assert await encrypted(opener, with_tls.url("postgres", address))
    assert await encrypted(
        opener, f"postgresql:///funds?host={address}&port={with_tls.port}&user=postgres&password={PASSWORD}"
    )
    assert not await encrypted(opener, with_tls.url("postgres", address, options="?sslmode=disable"))


@pytest.mark.parametrize("opener", OPENERS)
async def test_another_host_without_tls_is_refused(without_tls: DebianPostgres, address: str, opener: Open) -> None:
    """It is a failure that may pass: once the server has TLS, it is used again."""
    with pytest.raises(ConnectionError, match=r"\?sslmode=disable in the URL") as caught:
        await encrypted(opener, without_tls.url("postgres", address))
    assert classify(caught.value) is Failure.UNAVAILABLE
    assert not await encrypted(opener, without_tls.url("postgres", address, options="?sslmode=disable"))
    assert not await encrypted(opener, without_tls.url("postgres", "127.0.0.1"))


async def test_the_refusal_is_one_sentence(without_tls: DebianPostgres, address: str) -> None:
    sentence = (
        f"The database at {address}:{without_tls.port} does not agree to TLS, and what is not on this machine is not"
        " spoken to in plain text: turn TLS on there (ssl = on), or allow plain text with ?sslmode=disable in the URL."
    )
    url = without_tls.url("postgres", address)
    for use in (verify_server, upgrade):
        with pytest.raises(DatabaseUnusableError) as caught:
            await use(url)
        assert str(caught.value) == sentence
    refused = run_funds("serve", settings={"FUNDS_DATABASE_URL": url})
    assert (refused.returncode, refused.stderr) == (1, f"Error: {sentence}\n")


async def test_tls_that_is_asked_for_on_loopback(with_tls: DebianPostgres, without_tls: DebianPostgres) -> None:
    assert await encrypted(operator_engine, with_tls.url("postgres", "127.0.0.1", options="?sslmode=require"))
    with pytest.raises(DatabaseUnusableError, match="does not agree to TLS"):
        await verify_server(without_tls.url("postgres", "127.0.0.1", options="?sslmode=require"))


async def test_a_certificate_is_checked_where_the_url_asks_for_it(with_tls: DebianPostgres) -> None:
    """The sentence says what is wrong with it, and a password that is wrong is not repeated."""
    root = with_tls.place / "data" / "server.crt"
    with pytest.raises(DatabaseUnusableError, match=r"its certificate is not accepted .*mismatch"):
        await verify_server(with_tls.url("postgres", "127.0.0.1", options=f"?sslmode=verify-full&sslrootcert={root}"))
    await verify_server(with_tls.url("postgres", "127.0.0.1", options=f"?sslmode=verify-ca&sslrootcert={root}"))
    with pytest.raises(
        DatabaseUnusableError, match='refuses us: password authentication failed for user "postgres"'
    ) as caught:
        await verify_server(with_tls.url("postgres", "127.0.0.1").replace(PASSWORD, "S3crWrong"))
    assert "S3cr" not in str(caught.value)
    assert isinstance(caught.value.__cause__, asyncpg.InvalidPasswordError)
