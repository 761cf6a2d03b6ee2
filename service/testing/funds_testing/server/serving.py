"""A test server from its start to its end: the database, and the service on it."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import IPv4Address

from msgspec import Struct

from funds_testing.server.clusters import EmbeddedDatabase
from funds_testing.server.given import GivenDatabase
from funds_testing.server.guard import guard
from service.errors import OperatorError


class Options(Struct, kw_only=True, frozen=True):
    """Where a test server listens (0 is any free port), the server that its database is made on (a superuser's URL;
    None for an embedded one), and whether it ends when its standard input does.
    """

    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    database_url: str | None = None
    stop_with_stdin: bool = False


def run(options: Options) -> None:
    """Serve until SIGINT or SIGTERM, and print one line of JSON (``wire.Ready``) when that begins. However this process
    ends, nothing is left of its database.

    Raises OperatorError for what cannot be used: an address, or the database.
    """
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listen(options.host, port)) for port in (options.port, options.control_port)]
        database = EmbeddedDatabase() if options.database_url is None else GivenDatabase(options.database_url)
        guard(database.remove)
        stack.callback(database.close)
        with ThreadPoolExecutor(1) as thread:
            opening = thread.submit(database.open)
            from funds_testing.server.application import serve  # noqa: PLC0415 - takes as long as the database

            urls = opening.result()
        serve(urls, listeners, stop_with_stdin=options.stop_with_stdin)


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on this machine's own interface. Raises OperatorError."""
    try:
        here = IPv4Address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        raise OperatorError(f"A test server serves its own machine alone: {host} is no loopback address (127.…).")
    try:
        return socket.create_server((host, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OperatorError(f"Port {port} on {host} cannot be used ({reason}).") from None
