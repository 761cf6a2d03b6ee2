"""The servers that tests run on: PostgreSQL, and ``funds serve`` as a process of its own."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from litestar import Litestar

from service.embedded.postgres import EmbeddedPostgres
from service.settings import PREFIX
from service.storage.migrations import upgrade
from tests.support.prestarted import prestarted

ROOT = Path(__file__).parents[2]
FUNDS = [sys.executable, "-c", "from service.cli import main; main()"]
ROLES_SQL = ROOT / "deploy" / "roles.sql"
TEMPLATE = "funds_template"
STOP_SECONDS_MAX = 30
PORTS = range(10_000, 32_768)


@dataclass(frozen=True)
class TestDatabase:
    """A migrated database of one test, by role."""

    __test__ = False

    service_url: str
    owner_url: str
    operator_url: str
    auditor_url: str
    reader_url: str
    superuser_url: str

    @property
    def name(self) -> str:
        return urlsplit(self.superuser_url).path.removeprefix("/")


class TestPostgres:
    """A PostgreSQL with a migrated template, from which tests get databases of their own."""

    __test__ = False

    def __init__(self, superuser_url: str, password: str | None) -> None:
        self._superuser_url = superuser_url
        self._password = password
        self._made = 0

    @classmethod
    def embedded(cls, server: EmbeddedPostgres) -> "TestPostgres":
        return cls(server.superuser_url, None)

    def url(self, database: str, role: str | None = None) -> str:
        """The URL of ``database`` for ``role``; without one for the superuser."""
        parts = urlsplit(self._superuser_url)
        place = parts.netloc.rpartition("@")[2]
        user = parts.netloc.rpartition("@")[0] if role is None else role
        if role is not None and self._password is not None:
            user = f"{role}:{self._password}"
        # urlunsplit drops the empty place of a socket URL
        return urlunsplit((parts.scheme, f"{user}@{place}", f"/{database}", parts.query, ""))

    def database(self, name: str) -> TestDatabase:
        return TestDatabase(
            service_url=self.url(name, "funds_service"),
            owner_url=self.url(name, "funds_owner"),
            operator_url=self.url(name, "funds_operator"),
            auditor_url=self.url(name, "funds_auditor"),
            reader_url=self.url(name, "funds_reader"),
            superuser_url=self.url(name),
        )

    async def make_template(self) -> None:
        await self._execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)", f"CREATE DATABASE {TEMPLATE}")
        connection = await asyncpg.connect(self.url(TEMPLATE))
        try:
            await connection.execute(ROLES_SQL.read_text())
            if self._password is not None:
                for role in ("funds_owner", "funds_service", "funds_operator", "funds_auditor", "funds_reader"):
                    await connection.execute(f"ALTER ROLE {role} PASSWORD '{self._password}'")
        finally:
            await connection.close()
        await upgrade(self.url(TEMPLATE, "funds_owner"))

    @asynccontextmanager
    async def fresh_database(self, filled: TestDatabase | None = None) -> AsyncIterator[TestDatabase]:
        """Make a database as migrations leave it, and drop it in the end, whoever is still connected. With ``filled``
        it is a copy of that, which is large and to which nobody is connected.
        """
        self._made += 1
        name = f"funds_test_{os.getpid()}_{self._made}"
        # WAL_LOG copies a small template faster: the other strategy asks for two checkpoints.
        template, strategy = (TEMPLATE, "WAL_LOG") if filled is None else (filled.name, "FILE_COPY")
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {strategy}")
        try:
            yield self.database(name)
        finally:
            await self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self._superuser_url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def started(app: Litestar) -> AsyncIterator[None]:
    """``app`` between its start and its stop, in a task of its own: a lifespan ends in the task that began it, and
    pytest begins and ends a fixture in two.
    """
    stop = asyncio.Event()
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def live() -> None:
        async with app.lifespan():
            ready.set_result(None)
            await stop.wait()

    task = asyncio.create_task(live())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()  # raises what kept it from starting
    try:
        yield
    finally:
        stop.set()
        await task


class RunningService:
    """A ``funds serve`` process. Its output goes to ``log``."""

    def __init__(self, environment: Mapping[str, str], log: Path, *arguments: str) -> None:
        self.port = int(environment.get(f"{PREFIX}PORT", "8000"))
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_token = environment.get(f"{PREFIX}ADMIN_TOKEN", "")
        self.log = log
        with log.open("a") as output:
            self.process = subprocess.Popen(
                [*FUNDS, "serve", *arguments],
                cwd=ROOT,
                env=clean_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_token}"}

    def wait_until_ready(self, seconds_max: float = 60) -> None:
        deadline = time.monotonic() + seconds_max
        while not self._ready():
            assert self.process.poll() is None, f"funds serve ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"funds serve is not ready:\n{self.log.read_text()}"
            time.sleep(0.05)

    def _ready(self) -> bool:
        """Whether the service says so. It is asked often, and a client of httpx takes 40 ms of CPU to make."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=2)) as connection:
            try:
                connection.request("GET", "/health/ready")
                return connection.getresponse().status == 200
            except (OSError, HTTPException):
                return False

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Ask the process to stop, wait until it has, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        """End the main process with SIGKILL, as a crash would, and wait until its workers have noticed."""
        self.process.kill()
        self.process.wait(STOP_SECONDS_MAX)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while self._listening():
            assert time.monotonic() < deadline, "the workers outlive their parent"
            time.sleep(0.05)

    def _listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with ``settings`` as its only FUNDS_* variables."""
    # Many processes start from the same source: let the first one leave it compiled.
    dropped = (PREFIX, "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | dict(settings)


def free_port() -> int:
    """A port that nothing listens on. Outgoing connections never take it: the system gives them ports from 32768 on."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def run_funds(
    *arguments: str, settings: Mapping[str, str], seconds_max: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a ``funds`` command to its end."""
    return prestarted(ROOT).run(arguments, clean_environment(settings), seconds_max)


def random_token() -> str:
    return secrets.token_urlsafe(32)
