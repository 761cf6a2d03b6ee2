"""Where schedules play: two services on a primary with a synchronous standby, one of them behind proxies."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from service.embedded.postgres import EmbeddedPostgres
from service.storage.migrations import upgrade
from tests.faults.standby import Standby
from tests.support.bank import Bank
from tests.support.commit_proxy import CommitProxy, commit_proxy
from tests.support.haproxy import HAPROXY, Ports, haproxy, wait_for_instance
from tests.support.servers import RunningService, free_port, random_token
from tests.support.service_process import launch
from tests.support.socket_client import Client

STEADY, STRUCK, BALANCED = "a", "b", "balanced"
"""What callers call: the service behind the proxies, whose processes nobody touches; the one whose processes are killed
and stopped; and HAProxy in front of both.
"""


@dataclass
class Stage:
    """``primary`` and ``standby`` change places in a failover, and back. ``banks`` are those that callers use now."""

    directory: Path
    primary: Standby
    standby: Standby
    proxies: list[CommitProxy]
    balanced: bool
    token: str = field(default_factory=random_token)
    ports: dict[str, Ports] = field(default_factory=lambda: {name: Ports.free() for name in (STEADY, STRUCK)})
    services: dict[str, RunningService] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    banks: list[Bank] = field(default_factory=list)
    refusals: int = 0
    """How often callers were refused, or not answered."""
    migrated: bool = False

    @property
    def url(self) -> str:
        """Where the superuser reaches the primary."""
        return self.primary.url("postgres")

    def launch(self, name: str) -> None:
        """Start a service, and return at once."""
        ports, replica = self.ports[name], self.standby.url("funds_service")
        own = ports.settings if self.balanced else {"FUNDS_PORT": str(ports.service)}
        urls = {
            STEADY: ",".join(proxy.place for proxy in self.proxies),
            STRUCK: f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}",
        }
        self.services[name] = launch(
            f"postgresql://funds_service@{urls[name]}/funds?target_session_attrs=read-write&sslmode=disable",
            self.directory / f"serve-{name}.log",
            token=self.token,
            port=ports.service,
            **own | {"FUNDS_READ_DATABASE_URL": replica, "FUNDS_APPLICATION_NAME": application_name(name)},
        )

    async def ready(self, name: str) -> None:
        await asyncio.to_thread(self.services[name].wait_until_ready)

    def break_nothing(self) -> None:
        for proxy in self.proxies:
            proxy.break_nothing()
            proxy.speak_again()
            proxy.delay_seconds = 0.0

    @asynccontextmanager
    async def superuser(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def execute(self, *statements: str) -> None:
        await self.primary.execute(*statements)


def application_name(name: str) -> str:
    """What a service calls itself to PostgreSQL."""
    return f"funds-{name}"


@asynccontextmanager
async def stage(directory: Path, *, balanced: bool = HAPROXY is not None) -> AsyncIterator[Stage]:
    """Set everything up; ``balanced``: with HAProxy in front of the services, which then stop slowly."""
    server = EmbeddedPostgres(directory / "servers", options={"fsync": "off"}, tcp_port=free_port())
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(server.start)
        stack.callback(server.stop, "immediate")
        await upgrade(server.owner_url)
        primary, standby = Standby.former(server), Standby(server, free_port())
        await primary.execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        await asyncio.to_thread(standby.make)
        stack.callback(standby.kill)
        await primary.wait_for_standby()
        proxies = [await stack.enter_async_context(commit_proxy(one.url("postgres"))) for one in (primary, standby)]
        made = Stage(directory, primary, standby, proxies, balanced)
        stack.enter_context(_services(made))
        for name in made.services:
            await made.ready(name)
            made.clients[name] = await stack.enter_async_context(Client(made.services[name].url, made.token))
        if balanced:
            url = stack.enter_context(haproxy(directory / "haproxy.log", made.ports))
            await wait_for_instance(url)
            made.clients[BALANCED] = await stack.enter_async_context(Client(url, made.token))
        yield made


@contextmanager
def _services(made: Stage) -> Iterator[None]:
    try:
        for name in (STEADY, STRUCK):
            made.launch(name)
        yield
    finally:
        for service in made.services.values():
            service.process.kill()
            service.process.wait()
