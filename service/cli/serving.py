"""``funds serve``: the database ready, the workers started, everything stopped in order."""

import asyncio
import math
import multiprocessing
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import click
import msgspec
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

from service.cli.address import admin_token_expression, admin_token_path, service_url
from service.cli.connection import DatabaseUrls, configured_urls, embedded_urls, say
from service.cli.worker import load_application
from service.settings import PREFIX, Settings
from service.storage.database import Database
from service.storage.embedded import EmbeddedPostgres
from service.storage.migrations import SchemaBehindError, upgrade, verify_revision
from service.storage.preflight import DatabaseUnusableError, explained, operator_engine, verify_server
from service.storage.tokens import SCOPES, ensure_token, make_token
from service.telemetry.logs import configure_logging

ADMIN_CLIENT = "admin"

_BACKLOG = 1024
_KILL_MARGIN_SECONDS = 2
_PORT_WAIT_SECONDS = 2.0
_READY_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option("--migrate/--no-migrate", default=True, help="Bring the schema up to date first (the default).")
def serve(*, migrate: bool) -> None:
    """Serve the HTTP API, on FUNDS_HOST:FUNDS_PORT (127.0.0.1:8000), until Ctrl-C or SIGTERM.

    Without FUNDS_DATABASE_URL an embedded PostgreSQL is started and stopped with the service.
    """
    settings = Settings.from_environment()
    configure_logging(settings.log_level)
    with ExitStack() as stack:
        try:
            stack.enter_context(_interruptible_once())
            settings = msgspec.structs.replace(settings, port=_free_port(settings))
            urls = _open_database(settings, stack)
            asyncio.run(_prepare_schema(settings, urls, migrate=migrate))
            token = _admin_token(settings, urls)
            _hand_to_workers(settings, urls)
            _serve_until_stopped(settings, token)
        except KeyboardInterrupt:
            click.echo("Interrupted before the service was up.")
    click.echo("Stopped.")


@contextmanager
def _interruptible_once() -> Iterator[None]:
    """Let the first Ctrl-C, SIGTERM or SIGHUP raise KeyboardInterrupt and ignore more: what follows it cleans up."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = [(number, signal.signal(number, interrupt)) for number in _STOP_SIGNALS]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


def _free_port(settings: Settings) -> int:
    """Return the port to serve on, proved free; the workers share theirs and would not notice another server on it."""
    deadline = time.monotonic() + _PORT_WAIT_SECONDS  # the workers of a killed predecessor take a moment to leave
    while True:
        try:
            family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return int(probe.getsockname()[1])
        except OSError as error:
            if time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                continue
            reason = (error.strerror or str(error)).lower()
            raise click.ClickException(
                f"Port {settings.port} on {settings.host} cannot be used ({reason}):"
                " stop what listens there, or set FUNDS_PORT and FUNDS_HOST."
            ) from None


def _open_database(settings: Settings, stack: ExitStack) -> DatabaseUrls:
    urls = configured_urls(settings)
    if urls is not None:
        asyncio.run(verify_server(urls.service))
        return urls
    server = EmbeddedPostgres(settings.data_dir, say=say)
    stack.callback(_stop_database, server)
    server.start()
    return embedded_urls(server)


def _stop_database(server: EmbeddedPostgres) -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    server.stop()


async def _prepare_schema(settings: Settings, urls: DatabaseUrls, *, migrate: bool) -> None:
    """Migrate if that is asked for, needed and allowed. Raises SchemaBehindError when the schema stays behind."""
    engine = operator_engine(urls.service)
    try:
        with explained(urls.service):
            await verify_revision(engine)
    except SchemaBehindError as behind:
        if not migrate:
            raise
        try:
            before, after = await upgrade(urls.owner)
        except DatabaseUnusableError:
            if settings.database_url is not None and settings.migration_database_url is None:
                raise behind from None  # the service's own role may not migrate, as it should be
            raise
        say(f"Migrated the database schema from {before} to {after}")
    finally:
        await engine.dispose()


def _admin_token(settings: Settings, urls: DatabaseUrls) -> str | None:
    """Return the shell expression that gives an admin token; the embedded mode makes one at its first start."""
    if settings.admin_token is not None or settings.database_url is not None:
        return admin_token_expression(settings)
    path = admin_token_path(settings)
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        token = make_token()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(token + "\n")
    asyncio.run(_ensure_admin_token(settings, urls, token))
    return admin_token_expression(settings)


async def _ensure_admin_token(settings: Settings, urls: DatabaseUrls, token: str) -> None:
    database = Database.connect(urls.operator, settings)
    try:
        async with database.sessions() as session, session.begin():
            await ensure_token(session, token, client=ADMIN_CLIENT, scopes=SCOPES)
    finally:
        await database.close()


def _hand_to_workers(settings: Settings, urls: DatabaseUrls) -> None:
    """Put into the environment what the workers must know, and take out what they need not: other roles' URLs.

    What stands in a file they read from there themselves.
    """
    if settings.database_url is None:
        os.environ[f"{PREFIX}DATABASE_URL"] = urls.service
    os.environ[f"{PREFIX}PORT"] = str(settings.port)
    for name in ("MIGRATION_DATABASE_URL", "OPERATOR_DATABASE_URL"):
        os.environ.pop(f"{PREFIX}{name}", None)
        os.environ.pop(f"{PREFIX}{name}_FILE", None)


def _serve_until_stopped(settings: Settings, token: str | None) -> None:
    # A fresh interpreter for each worker: nothing of this process (lock, threads, event loops) leaks into it.
    multiprocessing.set_start_method("spawn", force=True)
    server = Server(
        target="service.app:create_app",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        log_level=LogLevels.warning,
        # No handlers of its own: its lines go the way of all others.
        log_dictconfig={"incremental": True, "handlers": {}, "loggers": {"_granian": {"propagate": True}}},
        respawn_failed_workers=True,
        workers_kill_timeout=math.ceil(settings.drain_timeout_seconds) + _KILL_MARGIN_SECONDS,
    )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if not server.interrupt_signal:
            server.signal_handler_interrupt()  # type: ignore[no-untyped-call]
            click.echo("Stopping: finishing what has been accepted.")

    def start() -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, stop)
        threading.Thread(target=_announce, args=(settings, token, server), daemon=True, name="announce").start()

    server.on_startup(start)
    server.serve(target_loader=load_application, wrap_loader=False)


def _announce(settings: Settings, token: str | None, server: Any) -> None:
    """Say where everything is, as soon as the service answers."""
    url = service_url(settings)
    deadline = time.monotonic() + _READY_SECONDS_MAX
    while not _answers(f"{url}/health/live"):
        if time.monotonic() > deadline or server.interrupt_signal:
            return
        time.sleep(_POLL_SECONDS)
    if settings.database_url is None:
        click.echo(f"Data     {settings.data_dir.absolute()}")
    click.echo(f"Service  {url}")
    click.echo(f"Docs     {url}/docs")
    if token is None:
        click.echo("Token    make one with: funds tokens create --client NAME --scope read")
    else:
        click.echo(f'Try      curl -H "Authorization: Bearer {token}" {url}/v1/ledgers')


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own http address
            return True
    except OSError:
        return False
