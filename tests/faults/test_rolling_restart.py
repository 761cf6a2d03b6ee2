"""Two instances behind HAProxy are restarted one after the other under load, and no request fails."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.bank import move_cents, open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.servers import ROOT, RunningService, free_port, random_token
from tests.support.socket_client import Client

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
CALLERS = 24
# What the proxy needs to notice; see deploy/haproxy.cfg.
DRAIN_DELAY_SECONDS = "3"

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed (Debian: haproxy)")


class Instances:
    """Two instances of the service, ``a`` and ``b``, and the proxy's environment that names them."""

    def __init__(self, serve: Callable[..., RunningService]) -> None:
        self._serve = serve
        self._token = random_token()
        self._ports = {name: (str(free_port()), str(free_port())) for name in "ab"}
        self._running = {name: self._start(name) for name in "ab"}
        self.proxy_port = free_port()
        self.environment = {"FUNDS_PROXY_BIND": f"127.0.0.1:{self.proxy_port}"}
        for name, (port, operations_port) in self._ports.items():
            self.environment[f"FUNDS_{name.upper()}"] = f"127.0.0.1:{port}"
            self.environment[f"FUNDS_{name.upper()}_CHECK_PORT"] = operations_port

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.proxy_port}", self._token)

    async def restart(self, name: str) -> None:
        """Stop one, start it again, and wait until the proxy sends requests to it."""
        assert await asyncio.to_thread(self._running[name].stop) == 0
        self._running[name] = await asyncio.to_thread(self._start, name)
        await asyncio.sleep(3)  # what is waited for is the proxy's own schedule: two checks, a second apart

    def _start(self, name: str) -> RunningService:
        port, operations_port = self._ports[name]
        return self._serve(
            FUNDS_PORT=port,
            FUNDS_OPERATIONS_PORT=operations_port,
            FUNDS_ADMIN_TOKEN=self._token,
            FUNDS_DRAIN_DELAY_SECONDS=DRAIN_DELAY_SECONDS,
        )


@pytest.fixture
def instances(serve: Callable[..., RunningService], tmp_path: Path) -> Iterator[Instances]:
    instances = Instances(serve)
    command = [str(HAPROXY), "-db", "-f", str(ROOT / "deploy" / "haproxy.cfg")]
    with (tmp_path / "haproxy.log").open("w") as log:
        proxy = subprocess.Popen(command, env=os.environ | instances.environment, stdout=log, stderr=log)
    yield instances
    proxy.terminate()
    proxy.wait(30)


async def test_no_request_fails(instances: Instances, database_url: str) -> None:
    journal = Journal()  # which takes neither a lost connection nor a 503
    async with instances.client() as client:
        await _answers(client)
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


async def _answers(client: Client) -> None:
    """Wait until the proxy has an instance."""
    for _ in range(100):
        async with httpx.AsyncClient() as http:
            try:
                if (await http.get(f"{client.url}/health/live")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
        await asyncio.sleep(0.1)
    raise AssertionError("the proxy does not answer")
