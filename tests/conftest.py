"""Fixtures on a real PostgreSQL: the embedded one, with FUNDS_TEST_POSTGRES=system one of the system's packages, or the
one of FUNDS_TEST_DATABASE_URL (a superuser's URL).

Every test gets a database of its own, cloned from a migrated template, so that its commits are real. The service
connects as ``funds_service``, as it does in production.
"""

import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from service.app import create_app
from service.embedded.postgres import EmbeddedPostgres
from service.settings import Settings
from service.storage.database import Database
from tests.support.debian import debian_postgres
from tests.support.patience import PATIENT
from tests.support.servers import RunningService, TestDatabase, TestPostgres, free_port, random_token, started

# nohup makes a process ignore SIGHUP, and what it starts inherits that; `funds serve` heeds it.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A crash of the machine may lose what a test wrote; a crash of the server may not.
CONNECTIONS_MAX = 300
POSTGRES_OPTIONS = {"fsync": "off", "max_connections": str(CONNECTIONS_MAX)}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[TestPostgres]:
    given = os.environ.get("FUNDS_TEST_DATABASE_URL")
    if given:
        if "PYTEST_XDIST_WORKER" in os.environ:
            pytest.exit("one process at a time has the server of FUNDS_TEST_DATABASE_URL: add -n0", returncode=4)
        yield TestPostgres(given, secrets.token_hex(16))
        return
    if os.environ.get("FUNDS_TEST_POSTGRES") == "system":
        with debian_postgres(tls=False, settings={"max_connections": str(CONNECTIONS_MAX)}) as server:
            yield TestPostgres(server.url("postgres", "127.0.0.1"), secrets.token_hex(16))
        return
    # Not among pytest's directories: for root, the server runs as another user, to whom the next pytest closes them.
    with (
        TemporaryDirectory(prefix="funds-tests-") as directory,
        EmbeddedPostgres(Path(directory), options=POSTGRES_OPTIONS) as embedded,
    ):
        yield TestPostgres.embedded(embedded)


@pytest.fixture(scope="session")
async def postgres(postgres_server: TestPostgres) -> TestPostgres:
    """The server, with its template made."""
    await postgres_server.make_template()
    return postgres_server


@pytest.fixture
async def test_database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    """A migrated database of the test's own."""
    async with postgres.fresh_database() as database:
        yield database


@pytest.fixture
def database_url(test_database: TestDatabase) -> str:
    """The test's database for the role of the service."""
    return test_database.service_url


@pytest.fixture
def owner_url(test_database: TestDatabase) -> str:
    """The test's database for the role that migrates."""
    return test_database.owner_url


@pytest.fixture
def superuser_url(test_database: TestDatabase) -> str:
    """The test's database for a role that may do anything."""
    return test_database.superuser_url


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Settings under which nothing is given up because the machine is busy."""
    return Settings(database_url=database_url, admin_token=random_token(), **PATIENT)


@pytest.fixture
async def database(settings: Settings, database_url: str) -> AsyncIterator[Database]:
    """The pool of connections with the service's role."""
    database = Database.connect(database_url, settings)
    yield database
    await database.close()


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    async with database.sessions() as session:
        yield session


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The application over ASGI, started and stopped, called with the admin token."""
    app = create_app(settings)
    # Exceptions become answers, as they do behind a real server.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {settings.admin_token}"}
    async with started(app), httpx.AsyncClient(transport=transport, base_url="http://funds", headers=headers) as http:
        yield http


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Iterator[Callable[..., RunningService]]:
    """Start ``funds serve`` processes on the test's database; ``serve(FUNDS_WORKERS="2")`` waits until it is ready."""
    running: list[RunningService] = []

    def start(**environment: str) -> RunningService:
        settings = {
            "FUNDS_DATABASE_URL": database_url,
            "FUNDS_ADMIN_TOKEN": random_token(),
            "FUNDS_PORT": str(free_port()),
            "FUNDS_LOG_LEVEL": "warning",
        }
        service = RunningService(settings | environment, tmp_path / f"serve-{len(running)}.log", "--no-migrate")
        running.append(service)
        service.wait_until_ready()
        return service

    yield start
    for service in running:
        service.stop()
