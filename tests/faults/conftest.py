"""What the tests of faults share: callers who expect trouble, and a service that is cut off from its database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.concurrency.client import Client
from tests.concurrency.journal import Journal
from tests.concurrency.services import launch
from tests.faults.proxy import CommitProxy, commit_proxy
from tests.servers import RunningService, TestPostgres


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


@pytest.fixture(scope="package")
async def proxied(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProxiedService]:
    """A service behind a proxy, with the settings of every day; each test opens ledgers of its own."""
    name, database = await postgres.make_database()
    async with commit_proxy(database.service_url) as proxy:
        service = launch(proxy.url, tmp_path_factory.mktemp("proxied") / "serve.log")
        try:
            await asyncio.to_thread(service.wait_until_ready)
            yield ProxiedService(service, proxy, database.service_url)
        finally:
            code = await asyncio.to_thread(service.stop)
    await postgres.drop_database(name)
    assert code == 0


@pytest.fixture
async def proxied_client(proxied: ProxiedService) -> AsyncIterator[Client]:
    async with Client(proxied.service.url, proxied.service.admin_token) as client:
        yield client
    proxied.proxy.break_nothing()
