"""The database goes away under load: every answer says what is certain, and sending a request again tells the rest."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from service.embedded.postgres import EmbeddedPostgres
from service.storage.migrations import upgrade
from tests.support.bank import Bank, open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.other_session import wait_until
from tests.support.servers import RunningService, free_port
from tests.support.socket_client import Client

Serve = Callable[..., RunningService]

TERMINATIONS = 25
ROUND = 32


async def _keep_loading(
    client: Client, journal: Journal, enough: Callable[[], bool], bank: Bank, dice: random.Random
) -> None:
    """Post random orders, a round at a time, until there is ``enough`` of whatever happens meanwhile."""
    while not enough():
        await journal.post_all([client], bank.random_orders(ROUND, dice), concurrency=ROUND)


def _has_decided(journal: Journal, count: int) -> bool:
    return journal.decided_count >= count


_TERMINATE_BUSY = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
"""


async def test_backends_are_terminated(serve: Serve, journal: Journal, database_url: str) -> None:
    """Connections die in every phase of a batch, again and again."""
    dice = random.Random(31)
    service = await asyncio.to_thread(serve)
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal)
        killer = await asyncpg.connect(database_url)
        ended = 0
        try:
            async with asyncio.TaskGroup() as group:
                load = group.create_task(_keep_loading(client, journal, lambda: ended >= TERMINATIONS, bank, dice))
                while not load.done():
                    ended += await killer.fetchval(_TERMINATE_BUSY)
                    enough = journal.decided_count + 5
                    await wait_until(lambda: load.done() or _has_decided(journal, enough))  # noqa: B023 - awaited here
        finally:
            await killer.close()
        await journal.decide_all([client])
        assert (await client.call("GET", "/health/ready")).status == 200
    assert journal.acknowledged.get("201", 0) > 100
    await journal.assert_ledgers_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)


@pytest.fixture
async def crashing_postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A migrated server of the test's own, on a port that stays the same from start to start."""
    server = EmbeddedPostgres(tmp_path / "crashing", options={"fsync": "off"}, tcp_port=free_port())
    await asyncio.to_thread(server.start)
    try:
        await upgrade(server.owner_url)
        yield server
    finally:
        await asyncio.to_thread(server.stop)


async def test_postgresql_crashes_and_comes_back(
    serve: Serve, journal: Journal, crashing_postgres: EmbeddedPostgres
) -> None:
    dice = random.Random(32)
    url = crashing_postgres.service_url
    service = await asyncio.to_thread(serve, FUNDS_DATABASE_URL=url)
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal)
        for _ in range(2):
            up_again = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                load = group.create_task(_keep_loading(client, journal, up_again.is_set, bank, dice))
                enough = journal.decided_count + 100
                await wait_until(partial(_has_decided, journal, enough))
                await asyncio.to_thread(crashing_postgres.stop, "immediate")
                # Everybody has been told that the database is away, readiness too.
                await wait_until(lambda: len(journal.unanswered) >= 16)
                assert (await client.call("GET", "/health/ready")).status == 503
                assert (await client.call("GET", "/health/live")).status == 200
                await asyncio.to_thread(crashing_postgres.start)
                up_again.set()
                await load
            await journal.decide_all([client])
            assert (await client.call("GET", "/health/ready")).status == 200
    await journal.assert_ledgers_agree(url)
    await assert_ledger_is_sound(url, bounds_were_constant=True)
    assert await asyncio.to_thread(service.stop) == 0
