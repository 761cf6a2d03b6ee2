"""Opening connections: the one way in which pools, commands, migrations and preflight reach PostgreSQL."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import asyncpg

from service.storage.addresses import Address

_CLOSE_SECONDS_MAX = 0.1
_CANCEL_SECONDS_MAX = 0.25
_KEEPALIVE_SECONDS, _KEEPALIVE_TRIES = 15, 3
_UNACKNOWLEDGED_SECONDS_MAX = 5


class TlsRefusedError(ConnectionError):
    """The server does not offer the TLS that it must; the message is one sentence for the operator."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"The database at {place} does not agree to TLS, and what is not on this machine is not spoken to in plain"
            " text: turn TLS on there (ssl = on), or allow plain text with ?sslmode=disable in the URL."
        )


async def connect(
    address: Address,
    *,
    application_name: str,
    timeout_seconds: float,
    command_timeout_seconds: float | None = None,
    statement_cache_size: int = 100,
    session_settings: Mapping[str, str] = MappingProxyType({}),
) -> asyncpg.Connection:
    """Connect to the database at ``address``; ``command_timeout_seconds`` of None is no limit.

    Where the URL leaves it open, TLS is required of every host but this machine. ``session_settings`` are set once the
    connection stands, in one round trip: as start-up parameters, a pooler (PgBouncer) would refuse them.
    Raises TlsRefusedError, OSError, or the driver's errors.
    """
    try:
        connection = await asyncpg.connect(
            dsn=address.url,
            ssl=address.tls_added,
            timeout=timeout_seconds,
            command_timeout=command_timeout_seconds,
            statement_cache_size=statement_cache_size,
            connection_class=_Connection,
            server_settings={"application_name": application_name, "timezone": "UTC"},
        )
    except ConnectionError as error:
        # The driver raises the bare class where the two do not come to terms on TLS, and only there.
        if type(error) is ConnectionError and address.tls_required:
            raise TlsRefusedError(address.place) from None
        raise
    _keep_alive(connection)
    if session_settings:
        try:
            await connection.execute(_set(session_settings), timeout=timeout_seconds)
        except BaseException:
            connection.terminate()
            raise
    return connection


def _set(settings: Mapping[str, str]) -> str:
    """Return the statements that set ``settings`` for the session; their names are constants of ours."""
    return ";".join(f"SET {name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items())


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # the driver carries no type information
    """The driver's connection, which does not wait long for the goodbye of a server that may be silent."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's own signature
        """Close within _CLOSE_SECONDS_MAX: politely, with a request to cancel what still runs, or else at once."""
        with suppress(TimeoutError):  # the driver has cut the connection then
            await super().close(timeout=min(timeout or _CLOSE_SECONDS_MAX, _CLOSE_SECONDS_MAX))

    def _cancel_current_command(self, waiter: Any, cancel_waiter: Any = None) -> None:
        """Ask the server to cancel what it does for a caller who went away, as the driver does, and end the connection
        if it does not acknowledge that: the ROLLBACK which comes next would wait for it.
        """
        super()._cancel_current_command(waiter, cancel_waiter)
        self._loop.call_later(_CANCEL_SECONDS_MAX, self._end_unless_done, cancel_waiter)

    def _end_unless_done(self, acknowledged: Any) -> None:
        if not self.is_closed() and (acknowledged is None or not acknowledged.done()):
            self.terminate()


def _keep_alive(connection: asyncpg.Connection) -> None:
    """Have the system send a sign of life on an idle connection, so that nobody between us and the server forgets it,
    and end one on which the server acknowledges nothing.
    """
    transport = connection._transport  # noqa: SLF001 - the driver has no way to set options of its socket
    own = transport.get_extra_info("socket")
    if own.family == socket.AF_UNIX:
        return
    options = {
        "TCP_KEEPIDLE": _KEEPALIVE_SECONDS,
        "TCP_KEEPINTVL": _KEEPALIVE_SECONDS,
        "TCP_KEEPCNT": _KEEPALIVE_TRIES,
        "TCP_USER_TIMEOUT": _UNACKNOWLEDGED_SECONDS_MAX * 1000,
    }
    # The loop's own object may not set options; another one on the same socket may.
    with socket.socket(fileno=os.dup(own.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):  # not every system has them all
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
