"""The service of a test server, with faults in front of it, and what controls both."""

import asyncio
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

import asyncpg
import msgspec
import uvloop

from funds_testing.server.asking import Asking
from funds_testing.server.clusters import DatabaseUrls
from funds_testing.server.control import PREFIX, Control
from funds_testing.server.declines import Declines
from funds_testing.server.faults import Faults
from funds_testing.server.ledgers import PLANS, TestLedgers
from funds_testing.wire import Ready
from service.api.http import problems
from service.app import create_app
from service.server.http import HttpServer
from service.server.limits import Limits
from service.settings import Settings
from service.storage.database import Database

_WAIT_SECONDS = 60.0
"""How long anything may take in the service before it gives up: a machine that is busy is none of a test's faults."""
_IDLE_SECONDS = 3_600.0
_DRAIN_SECONDS = 1.0
_SUPERUSER_CONNECTIONS = 2


def serve(urls: DatabaseUrls, listeners: Sequence[socket.socket], *, stop_with_stdin: bool) -> None:
    """Serve the service on the first of ``listeners`` and its control on the second, until SIGINT or SIGTERM, or, if
    asked, the end of standard input.
    """
    uvloop.run(_serve(urls, listeners, stop_with_stdin=stop_with_stdin))


async def _serve(urls: DatabaseUrls, listeners: Sequence[socket.socket], *, stop_with_stdin: bool) -> None:
    stopped = _stopped(stop_with_stdin=stop_with_stdin)
    settings = Settings(
        database_url=urls.service,
        admin_token=secrets.token_urlsafe(32),
        log_level="warning",
        log_requests=False,
        commit_deadline_seconds=_WAIT_SECONDS,
        read_deadline_seconds=_WAIT_SECONDS,
        queue_wait_seconds_max=_WAIT_SECONDS,
        pool_timeout_seconds=_WAIT_SECONDS,
        connect_timeout_seconds=_WAIT_SECONDS,
        statement_timeout_ms=int(1000 * _WAIT_SECONDS),
        lock_timeout_ms=int(1000 * _WAIT_SECONDS),
    )
    declines = Declines()
    declines.install()
    app = create_app(settings)
    admin_token = str(settings.admin_token)
    operator = Database.connect_few(urls.operator, settings, 1)
    limits = Limits(idle_seconds_max=_IDLE_SECONDS, drain_seconds_max=_DRAIN_SECONDS)
    refuse = problems.refusals("")
    async with (
        app.lifespan(),
        asyncpg.create_pool(
            urls.superuser, min_size=0, max_size=_SUPERUSER_CONNECTIONS, server_settings=PLANS
        ) as superuser,
    ):
        ledgers = TestLedgers(app.state.services, operator, superuser, Asking(app, admin_token))
        faults = Faults(app, refuse, declines, ledgers.find, ledgers.told)
        control = Control(app, ledgers, faults, admin_token)
        servers = [HttpServer(faults, limits, refuse), HttpServer(control, limits, refuse)]
        for server, listener in zip(servers, listeners, strict=True):
            await server.listen([listener])
        made = await ledgers.make("test")
        addresses = [f"http://{_host(one)}" for one in listeners]
        ready = Ready(
            url=addresses[0],
            token=made.token,
            admin_token=admin_token,
            ledger=made.name,
            client=made.client,
            control_url=addresses[1] + PREFIX.rstrip("/"),
        )
        print(msgspec.json.encode(ready).decode(), flush=True)  # noqa: T201 - what the command is for
        await stopped.wait()
        for server in servers:
            await server.stop()
        await operator.close()


def _stopped(*, stop_with_stdin: bool) -> asyncio.Event:
    """Return what is set once this process is to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)

    def wait_for_end() -> None:
        while sys.stdin.buffer.read(1):
            pass
        with suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(stopped.set)

    if stop_with_stdin:
        threading.Thread(target=wait_for_end, daemon=True, name="stdin").start()
    return stopped


def _host(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"
