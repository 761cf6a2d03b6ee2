"""Fixtures of the tests of faults: a journal that expects failures, a service that is cut off from its database, and a
database with a replica.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from service.embedded.postgres import EmbeddedPostgres
from service.storage.migrations import upgrade
from tests.faults.standby import Standby
from tests.support.commit_proxy import CommitProxy, commit_proxy
from tests.support.journal import Journal
from tests.support.pace import Pace, measure
from tests.support.servers import RunningService, TestPostgres, free_port
from tests.support.service_process import launch
from tests.support.socket_client import Client


@dataclass(frozen=True)
class ProxiedService:
    """A service that reaches its database through ``proxy``; ``database_url`` goes around it."""

    service: RunningService
    proxy: CommitProxy
    database_url: str


@pytest.fixture
def journal() -> Journal:
    """A journal that takes lost connections and 503 for what they say, and holds them to it."""
    return Journal(faults_expected=True)


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    """How slow the machine is now; what the service waits for is stretched by it."""
    pace = measure()
    pace.stretch(monkeypatch)
    return pace


@pytest.fixture(scope="package")
async def proxied(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProxiedService]:
    """A service behind a proxy, with the settings of every day; each test opens ledgers of its own."""
    async with postgres.fresh_database() as database, commit_proxy(database.service_url) as proxy:
        service = launch(proxy.url, tmp_path_factory.mktemp("proxied") / "serve.log")
        try:
            await asyncio.to_thread(service.wait_until_ready)
            yield ProxiedService(service, proxy, database.service_url)
        finally:
            code = await asyncio.to_thread(service.stop)
    assert code == 0


@pytest.fixture
async def proxied_client(proxied: ProxiedService) -> AsyncIterator[Client]:
    async with Client(proxied.service.url, proxied.service.admin_token) as client:
        yield client
    proxied.proxy.break_nothing()


@pytest.fixture(scope="module")
async def primary(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("primary"), options={"fsync": "off"}, tcp_port=free_port())
    await asyncio.to_thread(server.start)
    await upgrade(server.owner_url)
    yield server
    await asyncio.to_thread(server.stop)


@pytest.fixture(scope="module")
async def standby(primary: EmbeddedPostgres) -> AsyncIterator[Standby]:
    standby = Standby(primary, free_port())
    await asyncio.to_thread(standby.make)
    yield standby
    await asyncio.to_thread(standby.remove)
