"""``funds serve``: prepares the database, starts the worker processes, and stops everything in order."""

import asyncio
import os
import secrets
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import click
import msgspec

from service.cli.address import admin_token_expression, service_url
from service.cli.secret_files import admin_token_path
from service.cli.urls import DatabaseUrls, configured_urls, embedded_urls, say, verify_databases
from service.cli.worker import run_worker
from service.console.links import SignInLink
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.supervision import Supervisor
from service.errors import DatabaseUnusableError, SchemaBehindError
from service.server.http import BACKLOG
from service.server.workers import Workers
from service.settings import PREFIX, Settings
from service.storage.preflight import verify_durability, verify_role, verify_schema
from service.telemetry.cells import Rows, adopt, clear_gauges
from service.telemetry.logs import configure_logging

_OPERATIONS_PREFIX = f"{PREFIX}OPERATIONS_"
_KILL_MARGIN_SECONDS = 5
_PORT_WAIT_SECONDS = 2.0
_READY_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.1


@click.command()
@click.option("--migrate/--no-migrate", default=True, help="Bring the schema up to date first (the default).")
def serve(*, migrate: bool) -> None:
    """Serve the HTTP API, on FUNDS_HOST:FUNDS_PORT (127.0.0.1:8000), until Ctrl-C or SIGTERM.

    Without FUNDS_DATABASE_URL an embedded PostgreSQL is started and stopped with the service.
    """
    # cryptography takes as long to load as all else, and the other commands do without it
    from service.audit.log_keys import LogKeys  # noqa: PLC0415
    from service.cli.log_key import hand_to_workers  # noqa: PLC0415

    settings = Settings.from_environment()
    LogKeys.of(settings)  # raises SettingsError before anything is started
    configure_logging(settings.log_level)
    with ExitStack() as stack:
        try:
            stack.enter_context(_interruptible_once())
            listener = stack.enter_context(_bound(settings.host, settings.port, PREFIX))
            settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
            operations = []
            if settings.operations_port is not None:
                bound = _bound(settings.operations_host, settings.operations_port, _OPERATIONS_PREFIX)
                operations.append(stack.enter_context(bound))
            urls = _open_database(settings, stack)
            asyncio.run(_prepare_schema(settings, urls, migrate=migrate))
            for verify in (verify_role, verify_durability):
                warning = asyncio.run(verify(urls.service))
                if warning is not None:
                    say(f"Warning: {warning}")
            token = _admin_token(settings, urls)
            link = _sign_in_link(settings)
            _hand_to_workers(settings, urls)
            hand_to_workers(settings)
            _serve_until_stopped(settings, token, link, listener, operations)
        except KeyboardInterrupt:
            click.echo("Interrupted before the service was up.")
    click.echo("Stopped.")


def _stop_signals() -> list[signal.Signals]:
    """Return the signals that stop the service. SIGHUP is not among them when nohup has made the process ignore it."""
    kept = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        kept.append(signal.SIGHUP)
    return kept


@contextmanager
def _interruptible_once() -> Iterator[None]:
    """Make the first signal that stops the service raise KeyboardInterrupt, and ignore more of them while the service
    cleans up.
    """
    numbers = _stop_signals()

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = [(number, signal.signal(number, interrupt)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


def _bound(host: str, port: int, prefix: str) -> socket.socket:
    """Return a socket that is bound to ``host`` and ``port`` and does not listen yet.

    ``prefix`` is that of the two settings, for the message of the ClickException when the address cannot be used.
    """
    deadline = time.monotonic() + _PORT_WAIT_SECONDS  # workers of a killed earlier process take a moment to end
    while True:
        try:
            return _bind(host, port)
        except UnicodeError:  # raised by the encoding of host names
            raise click.ClickException(
                f"{prefix}HOST is no name of a host: a part of it is empty or too long."
            ) from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise _unusable(host, port, prefix, error) from None
            time.sleep(_POLL_SECONDS)


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def _listen(bound: socket.socket, host: str, port: int, prefix: str) -> None:
    try:
        bound.listen(BACKLOG)
    except OSError as error:  # another process bound the address too, while neither of the two listened
        raise _unusable(host, port, prefix, error) from None


def _unusable(host: str, port: int, prefix: str, error: OSError) -> click.ClickException:
    reason = (error.strerror or str(error)).lower()
    return click.ClickException(
        f"Port {port} on {host} cannot be used ({reason}):"
        f" stop what listens there, or set {prefix}PORT and {prefix}HOST."
    )


def _open_database(settings: Settings, stack: ExitStack) -> DatabaseUrls:
    urls = configured_urls(settings)
    if urls is not None:
        asyncio.run(verify_databases(settings, urls))
        return urls
    server = EmbeddedPostgres(settings.data_dir, say=say)
    stack.callback(_stop_database, server)
    server.start()
    stack.enter_context(Supervisor(server))
    return embedded_urls(server)


def _stop_database(server: EmbeddedPostgres) -> None:
    for number in _stop_signals():
        signal.signal(number, signal.SIG_IGN)
    server.stop()


async def _prepare_schema(settings: Settings, urls: DatabaseUrls, *, migrate: bool) -> None:
    """Migrate the schema if it is behind and ``migrate`` is set. Raises SchemaBehindError when it stays behind."""
    try:
        await verify_schema(urls.service)
    except SchemaBehindError as behind:
        if not migrate:
            raise
        from service.storage.migrations import upgrade  # noqa: PLC0415 - few starts find a schema that is behind

        try:
            before, after = await upgrade(urls.owner)
        except DatabaseUnusableError:
            if settings.database_url is not None and settings.migration_database_url is None:
                raise behind from None  # the URL is that of the service's own role, which must not be able to migrate
            raise
        say(f"Migrated the database schema from {before} to {after}")


def _admin_token(settings: Settings, urls: DatabaseUrls) -> str | None:
    """Return the shell expression that gives an admin token; None when only ``funds tokens create`` gives one.

    With the embedded PostgreSQL, the token is made at the first start.
    """
    if settings.admin_token is None and settings.database_url is None:
        from service.cli.admin_token import ensure_admin_token  # noqa: PLC0415 - loads SQLAlchemy

        ensure_admin_token(settings, urls.operator)
    return admin_token_expression(settings)


def _sign_in_link(settings: Settings) -> tuple[SignInLink, str] | None:
    """Return the link that signs the operator in to the console, and its code: with the embedded PostgreSQL alone,
    whose admin token lies beside the data.
    """
    if not settings.console or settings.database_url is not None:
        return None
    return SignInLink.make(settings.admin_token or admin_token_path(settings).read_text().strip())


def _hand_to_workers(settings: Settings, urls: DatabaseUrls) -> None:
    """Set the environment of the workers: add the settings that they need, remove the URLs of other roles.

    Secrets that come from files are not added: the workers read the files themselves.
    """
    if settings.database_url is None:
        os.environ[f"{PREFIX}DATABASE_URL"] = urls.service
    os.environ[f"{PREFIX}PORT"] = str(settings.port)
    if settings.console and settings.console_key is None:
        os.environ[f"{PREFIX}CONSOLE_KEY"] = secrets.token_hex(32)  # the same for all workers
    for name in ("MIGRATION_DATABASE_URL", "OPERATOR_DATABASE_URL"):
        os.environ.pop(f"{PREFIX}{name}", None)
        os.environ.pop(f"{PREFIX}{name}_FILE", None)


def _serve_until_stopped(
    settings: Settings,
    token: str | None,
    link: tuple[SignInLink, str] | None,
    listener: socket.socket,
    operations: list[socket.socket],
) -> None:
    _listen(listener, settings.host, settings.port, PREFIX)
    for bound in operations:
        _listen(bound, settings.operations_host, bound.getsockname()[1], _OPERATIONS_PREFIX)
    rows = None
    if settings.metrics:
        rows = Rows.make(settings.workers + 1)
        adopt(rows, settings.workers)  # the last row is this process's
    workers = Workers(
        run_worker,
        ([listener], operations, rows, link and link[0]),
        count=settings.workers,
        ended=lambda number: None if rows is None else clear_gauges(rows, number),
    )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if not workers.stopping:
            workers.stop()
            click.echo("Stopping: finishing what has been accepted.")

    for number in _stop_signals():
        signal.signal(number, stop)
    threading.Thread(
        target=_announce, args=(settings, token, link and link[1], workers), daemon=True, name="announce"
    ).start()
    workers.run(
        drain_delay_seconds=settings.drain_delay_seconds,
        close_listeners=listener.close,
        stop_seconds_max=settings.drain_delay_seconds + 2 * settings.drain_timeout_seconds + _KILL_MARGIN_SECONDS,
    )


def _announce(settings: Settings, token: str | None, code: str | None, workers: Workers) -> None:
    """Print the addresses of the service, its documentation and its data, as soon as the service answers."""
    url = service_url(settings)
    deadline = time.monotonic() + _READY_SECONDS_MAX
    while not _answers(f"{url}/health/live"):
        if time.monotonic() > deadline or workers.stopping:
            return
        time.sleep(_POLL_SECONDS)
    if settings.database_url is None:
        click.echo(f"Data     {settings.data_dir.absolute()}")
    click.echo(f"Service  {url}")
    click.echo(f"Docs     {url}/docs")
    if settings.console:
        click.echo(f"Console  {url}/console" + ("" if code is None else f"/sign-in/link?code={code}  (signs in once)"))
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
