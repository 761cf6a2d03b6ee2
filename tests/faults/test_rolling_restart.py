"""Two instances behind HAProxy are restarted one after the other under load, and no request fails."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bank import move_cents, open_bank
from tests.support.haproxy import HAPROXY, RISE_SECONDS, Ports, haproxy, wait_for_instance
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.servers import RunningService, random_token
from tests.support.socket_client import Client

CALLERS = 24

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed (Debian: haproxy)")


class Instances:
    """Two instances of the service, ``a`` and ``b``, behind the proxy at ``url``."""

    def __init__(self, serve: Callable[..., RunningService]) -> None:
        self._serve = serve
        self._token = random_token()
        self.ports = {name: Ports.free() for name in "ab"}
        self._running = {name: self._start(name) for name in "ab"}
        self.url = ""

    def client(self) -> Client:
        return Client(self.url, self._token)

    async def restart(self, name: str) -> None:
        """Stop one, start it again, and wait until the proxy sends requests to it."""
        assert await asyncio.to_thread(self._running[name].stop) == 0
        self._running[name] = await asyncio.to_thread(self._start, name)
        await asyncio.sleep(RISE_SECONDS)  # what is waited for is the proxy's own schedule

    def _start(self, name: str) -> RunningService:
        return self._serve(FUNDS_ADMIN_TOKEN=self._token, **self.ports[name].settings)


@pytest.fixture
def instances(serve: Callable[..., RunningService], tmp_path: Path) -> Iterator[Instances]:
    instances = Instances(serve)
    with haproxy(tmp_path / "haproxy.log", instances.ports) as instances.url:
        yield instances


async def test_no_request_fails(instances: Instances, database_url: str) -> None:
    journal = Journal()  # which takes neither a lost connection nor a 503
    await wait_for_instance(instances.url)
    async with instances.client() as client:
        bank = await open_bank(client, journal, customers=CALLERS)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(move_cents(over, client, journal, bank, number))
            for name in "ab":
                before = journal.decided_count
                await instances.restart(name)
                assert journal.decided_count > before + 100, "requests went on meanwhile"
            over.set()
    assert set(journal.acknowledged) <= {"201", "422"}
    await journal.assert_ledgers_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)
