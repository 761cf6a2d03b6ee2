"""Thousands of slow connections of every kind beside ordinary callers, which are answered at once. The worker's memory
stays small.
"""

import asyncio
import resource
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.bank import Bank, open_bank
from tests.support.journal import Journal
from tests.support.process_costs import memory_mb
from tests.support.servers import RunningService, TestDatabase, TestPostgres
from tests.support.service_process import launch
from tests.support.socket_client import Client, Connection

MANY = 5_000
MEMORY_MB_MAX = 400
AT_ONCE_SECONDS = 1.0
AT_ONCE_TIMES = 100
STUCK_SECONDS = 5.0
"""Half of what the service waits for a peer that is silent or does not read: whoever waits for one takes longer."""

Serve = Callable[..., RunningService]

pytestmark = pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * MANY, reason=f"needs {2 * MANY} open files"
)


@pytest.fixture(autouse=True)
def open_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@asynccontextmanager
async def connections(client: Client, count: int, begun: bytes, **options: Any) -> AsyncIterator[list[Connection]]:
    """``count`` connections that have each sent ``begun``."""
    opened: list[Connection] = []
    try:
        while len(opened) < count:
            some = await asyncio.gather(*(client.connect(**options) for _ in range(min(200, count - len(opened)))))
            await asyncio.gather(*(connection.send(begun) for connection in some if begun))
            opened += some
        yield opened
    finally:
        for connection in opened:
            connection.close(rudely=True)


async def _call_once(client: Client, bank: Bank, journal: Journal, number: int) -> float:
    """Post a transfer, read an account and ask whether the service is ready, on a new connection; return the seconds
    that it took.
    """
    async with Client(client.url, client.token) as fresh:
        began = time.monotonic()
        answer = await journal.post(fresh, bank.order(bank.customers[number % 4], bank.customers[number % 4 - 1]))
        assert answer is not None
        assert answer.status == 201
        path = f"/v1/ledgers/{bank.ledger}/accounts/{bank.treasury}"
        assert (await fresh.call("GET", path)).status == 200
        assert (await fresh.call("GET", "/health/ready")).status == 200
        return time.monotonic() - began


async def seconds_at_once(client: Client, bank: Bank, journal: Journal) -> float:
    """Return how long calls may take: AT_ONCE_SECONDS, or on a slow machine AT_ONCE_TIMES what they take when nobody
    else calls. That is less than the time for which the service waits for a peer.
    """
    alone = [await _call_once(client, bank, journal, number) for number in range(5)]
    return max(AT_ONCE_SECONDS, AT_ONCE_TIMES * statistics.median(alone))


async def answered_at_once(client: Client, bank: Bank, journal: Journal, seconds_max: float) -> None:
    """New connections are accepted, and transfers, reads and probes answered: as a rule without delay, and never only
    when a slow peer is given up. The first calls meet the work that every connection has asked for at once.
    """
    seconds = [await _call_once(client, bank, journal, number) for number in range(20)]
    assert statistics.median(seconds) < seconds_max
    assert max(seconds) < STUCK_SECONDS


@pytest.fixture(scope="module")
async def patient(
    postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[RunningService, TestDatabase]]:
    """A service that times no connection out, and its database."""
    async with postgres.fresh_database() as database:
        service = launch(
            database.service_url,
            tmp_path_factory.mktemp("patient") / "serve.log",
            FUNDS_IDLE_TIMEOUT_SECONDS="600",
            FUNDS_HEAD_TIMEOUT_SECONDS="600",
            FUNDS_BODY_TIMEOUT_SECONDS="600",
        )
        try:
            await asyncio.to_thread(service.wait_until_ready)
            yield service, database
        finally:
            await asyncio.to_thread(service.stop)


@pytest.mark.parametrize("kind", ["idle", "slow heads", "slow bodies", "slow bodies with a token"])
async def test_thousands_of_slow_connections(patient: tuple[RunningService, TestDatabase], kind: str) -> None:
    """None of them is timed out while the test runs: it is their number that must not matter."""
    service, database = patient
    journal = Journal()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=4)
        begun = {
            "idle": b"",
            "slow heads": b"POST /v1/ledgers HTTP/1.1\r\nHost: fun",
            "slow bodies": b"POST /v1/ledgers HTTP/1.1\r\nHost: funds\r\nContent-Length: 9\r\n\r\n{",
            "slow bodies with a token": client.request("POST", f"/v1/ledgers/{bank.ledger}/accounts", {"x": "y"})[:-1],
        }[kind]
        seconds_max = await seconds_at_once(client, bank, journal)
        async with connections(client, MANY, begun):
            await answered_at_once(client, bank, journal, seconds_max)
            assert memory_mb(service.process.pid)[1] < MEMORY_MB_MAX, "at its peak"
    await journal.assert_ledgers_agree(database.service_url)


async def test_batches_that_do_not_arrive_keep_no_batch_waiting(serve: Serve) -> None:
    service = serve()
    journal = Journal()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=4)
        path = f"/v1/ledgers/{bank.ledger}/transfers/batch"
        batch = {"transfers": [bank.order(bank.treasury, bank.customers[0]).body | {"idempotency_key": "one"}]}
        slow = client.request("POST", path, {"transfers": [], "x": "x" * 5_000_000})[:-1]
        seconds_max = await seconds_at_once(client, bank, journal)
        async with connections(client, 12, slow):
            began = time.monotonic()
            answer = await client.call("POST", path, batch)
            assert answer.status == 201
            assert time.monotonic() - began < seconds_max
            assert memory_mb(service.process.pid)[1] < MEMORY_MB_MAX, "at its peak"


async def test_large_answers_that_clients_do_not_read(serve: Serve) -> None:
    """Pages of transfers with all the metadata that they can have, asked for again and again, and never read."""
    service = serve()
    journal = Journal()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=4)
        metadata = {f"{number:02}".ljust(64, "n"): "\\" * 500 for number in range(50)}
        bodies = [
            bank.order(bank.treasury, bank.customers[0]).body | {"idempotency_key": f"k{number}", "metadata": metadata}
            for number in range(180)  # a page has room for 19
        ]
        path = f"/v1/ledgers/{bank.ledger}/transfers"
        for begin in range(0, len(bodies), 90):
            answer = await client.call("POST", f"{path}/batch", {"transfers": bodies[begin : begin + 90]})
            assert answer.status == 201
        asked = client.request("GET", f"{path}?limit=1000") * 20
        seconds_max = await seconds_at_once(client, bank, journal)
        async with connections(client, 150, asked, receive_bytes=4096):
            await answered_at_once(client, bank, journal, seconds_max)
            assert memory_mb(service.process.pid)[1] < MEMORY_MB_MAX, "at its peak"
