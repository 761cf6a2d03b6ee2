"""The primary is lost, its synchronous standby takes over: the service finds it, and nothing acknowledged is lost."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.embedded.postgres import EmbeddedPostgres
from service.storage.migrations import upgrade
from tests.faults.standby import Standby
from tests.support.bank import Bank, open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.other_session import wait_until
from tests.support.pace import Pace
from tests.support.servers import RunningService, free_port
from tests.support.service_process import launch
from tests.support.socket_client import Client

RECOVERY_SECONDS_MAX = 5.0
CALLERS = 32
BEFORE = 300
"""How many orders are decided before something happens."""


@dataclass(frozen=True)
class Pair:
    """A primary and its synchronous standby, and a service that has both in its URL."""

    first: Standby
    second: Standby
    service: RunningService

    @property
    def url(self) -> str:
        return _url(self.first, self.second)


def _url(first: Standby, second: Standby) -> str:
    hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    return f"postgresql://funds_service@{hosts}/funds?target_session_attrs=read-write"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    server = EmbeddedPostgres(tmp_path / "pair", options={"fsync": "off"}, tcp_port=free_port())
    await asyncio.to_thread(server.start)
    await upgrade(server.owner_url)
    first, second = Standby.former(server), Standby(server, free_port())
    await asyncio.to_thread(second.make)
    await first.wait_for_standby()
    service = launch(_url(first, second), tmp_path / "serve.log")
    try:
        await asyncio.to_thread(service.wait_until_ready)
        yield Pair(first, second, service)
    finally:
        await asyncio.to_thread(service.stop)

        second.kill()
        await asyncio.to_thread(server.stop, "immediate")


@asynccontextmanager
async def _load(client: Client, journal: Journal, bank: Bank) -> AsyncIterator[None]:
    """Within, callers post orders without a pause."""
    done, dice = asyncio.Event(), random.Random(17)

    async def post() -> None:
        while not done.is_set():
            await journal.post_all([client], bank.random_orders(CALLERS, dice), concurrency=CALLERS)

    async with asyncio.TaskGroup() as group:
        group.create_task(post())
        try:
            await _wait_for_more(journal, BEFORE)
            yield
        finally:
            done.set()


async def _wait_for_more(journal: Journal, count: int) -> None:
    enough = journal.decided_count + count
    await wait_until(lambda: journal.decided_count >= enough)


async def _take_over(standby: Standby, journal: Journal) -> float:
    """Promote ``standby``; return how many seconds later a transfer is acknowledged."""
    await standby.promote()
    promoted = time.monotonic()
    await _wait_for_more(journal, 1)
    return time.monotonic() - promoted


async def _assert_nothing_is_lost(client: Client, journal: Journal, primary: Standby) -> None:
    """Decide what was left undecided, and hold the callers' record against what ``primary`` has."""
    await journal.decide_all([client])
    assert (await client.call("GET", "/health/ready")).status == 200
    await journal.assert_ledgers_agree(primary.url("postgres"))
    await assert_ledger_is_sound(primary.url("postgres"), bounds_were_constant=True)


async def test_the_primary_is_killed_and_comes_back_as_a_standby(
    pair: Pair, journal: Journal, tmp_path: Path, pace: Pace
) -> None:
    """And the other way round. Between the two, connections end, and new ones meet the standby first."""
    first, second = pair.first, pair.second
    async with Client(pair.service.url, pair.service.admin_token) as client:
        bank = await open_bank(client, journal)
        async with _load(client, journal, bank):
            first.kill()
            assert await _take_over(second, journal) < pace.seconds(RECOVERY_SECONDS_MAX)
            await _wait_for_more(journal, BEFORE)
        await _assert_nothing_is_lost(client, journal, second)

        another = launch(pair.url, tmp_path / "another.log")  # it starts although a server is away
        await asyncio.to_thread(another.wait_until_ready)
        await asyncio.to_thread(another.stop)

        await asyncio.to_thread(first.rejoin, second)
        await second.wait_for_standby()
        async with _load(client, journal, bank):
            await second.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'funds_service'"
            )
            await _wait_for_more(journal, BEFORE)
            second.kill()
            assert await _take_over(first, journal) < pace.seconds(RECOVERY_SECONDS_MAX)
            await _wait_for_more(journal, BEFORE)
        await _assert_nothing_is_lost(client, journal, first)
        await asyncio.to_thread(second.rejoin, first)
    assert "Traceback" not in pair.service.log.read_text()


async def test_the_primary_falls_silent(pair: Pair, journal: Journal, pace: Pace) -> None:
    """As one does that has lost its power: nothing says that connections to it have ended."""
    async with Client(pair.service.url, pair.service.admin_token) as client:
        bank = await open_bank(client, journal)
        async with _load(client, journal, bank):
            pair.first.freeze()
            assert await _take_over(pair.second, journal) < pace.seconds(RECOVERY_SECONDS_MAX)
            await _wait_for_more(journal, BEFORE)
        await _assert_nothing_is_lost(client, journal, pair.second)
    pair.first.kill()


async def test_what_the_standby_does_not_have_is_acknowledged_to_nobody(pair: Pair, journal: Journal) -> None:
    """The primary loses its standby, and is lost before the standby comes back. Until then it waits with every COMMIT,
    and nobody may see what it has, neither under the same key nor by its look-up.
    """
    async with Client(pair.service.url, pair.service.admin_token) as client:
        bank = await open_bank(client, journal, customers=2)
        debit, credit = bank.customers
        order = bank.order(debit, credit)
        other = await open_bank(client, journal, customers=1)
        known = other.order(other.treasury, other.customers[0])
        await journal.post(client, known)
        await asyncio.to_thread(pair.second.stop)
        for _ in range(2):
            answer = await journal.post(client, order)
            assert answer is not None
            assert (answer.status, answer.content["retryable"]) == (503, True), answer
            looked_up = await client.call("GET", f"/v1/ledgers/{bank.ledger}/idempotency-keys/{order.key}")
            assert looked_up.content["outcome"] == "never_seen", looked_up
        assert journal.answers(order)[0].content["outcome"] == "unknown"
        await journal.post(client, known)
        assert [answer.status for answer in journal.answers(known)] == [201, 503], "a replay waits, too"

        pair.first.kill()
        await asyncio.to_thread(pair.second.start)
        await pair.second.promote()
        await _assert_nothing_is_lost(client, journal, pair.second)
    assert journal.outcome(order) == "applied"
