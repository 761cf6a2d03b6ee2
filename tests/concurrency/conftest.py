"""Two service processes on one database, shared by these tests: each test opens ledgers of its own."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.support.journal import Journal
from tests.support.patience import PATIENT_ENVIRONMENT
from tests.support.servers import RunningService, TestDatabase, TestPostgres, random_token
from tests.support.service_process import launch
from tests.support.socket_client import Client


@pytest.fixture(scope="package")
async def shared_database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    async with postgres.fresh_database() as database:
        yield database
        deadlocks = await _deadlocks(database.superuser_url)
    assert deadlocks == 0, "locks were not taken in one order"


@pytest.fixture(scope="package")
def shared_database_url(shared_database: TestDatabase) -> str:
    return shared_database.service_url


@pytest.fixture(scope="package")
def services(
    shared_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningService, RunningService]]:
    token = random_token()
    logs = tmp_path_factory.mktemp("services")
    first, second = [
        launch(shared_database_url, logs / f"serve-{number}.log", token=token, **PATIENT_ENVIRONMENT)
        for number in range(2)
    ]
    try:
        first.wait_until_ready()
        second.wait_until_ready()
        yield first, second
    finally:
        codes = first.stop(), second.stop()
    assert codes == (0, 0)
    lines = [line for service in (first, second) for line in service.log.read_text().splitlines()]
    assert [line for line in lines if line.startswith("{") or "Traceback" in line] == [], "the services complain"


async def _deadlocks(superuser_url: str) -> int:
    """How many deadlocks the database has ended since it was made."""
    connection = await asyncpg.connect(superuser_url)
    try:
        return int(
            await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )
    finally:
        await connection.close()


@pytest.fixture
async def clients(services: tuple[RunningService, RunningService]) -> AsyncIterator[tuple[Client, Client]]:
    """A client of each process."""
    first, second = [Client(service.url, service.admin_token) for service in services]
    async with first, second:
        yield first, second


@pytest.fixture
def client(clients: tuple[Client, Client]) -> Client:
    """A client of one process."""
    return clients[0]


@pytest.fixture
def journal() -> Journal:
    """A journal in which any fault fails the test."""
    return Journal()
