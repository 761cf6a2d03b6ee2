"""Opening connections to PostgreSQL: pools, commands, migrations and the preflight all use ``connect``."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import asyncpg

from service.errors import TlsRefusedError
from service.storage.addresses import Address, Candidate
from service.storage.candidates import first_usable

# As the driver's own transactions send them, which SQLAlchemy uses.
_BEGIN, _COMMIT = "BEGIN", "COMMIT;"
# Citus sends a statement to the one node that has its ledger, which it must know when it plans. A plan that is kept for
# all parameters does not tell: a query that joins fails with one.
_FIND_CITUS = "SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'"
_NOT_FOUND = "SELECT 0"
# On a node, Citus hides the tables of shards from each query of the catalogs, at a price for each of them: the driver's
# query for the types of columns takes ten seconds there, where the planner may neither scan nor hash.
_FOR_CITUS = "SET plan_cache_mode = force_custom_plan; SET citus.override_table_visibility = off"
_CLOSE_SECONDS_MAX = 0.1
_CANCEL_SECONDS_MAX = 0.25
_KEEPALIVE_SECONDS, _KEEPALIVE_TRIES = 15, 3
_UNACKNOWLEDGED_SECONDS_MAX = 5


async def connect(
    address: Address,
    *,
    application_name: str,
    timeout_seconds: float,
    command_timeout_seconds: float | None = None,
    statement_cache_size: int = 100,
    session_settings: Mapping[str, str] = MappingProxyType({}),
) -> asyncpg.Connection:
    """Connect to the first of the servers of ``address`` that is what it asks for, each within ``timeout_seconds``.
    ``command_timeout_seconds`` of None means no limit.

    Where the URL does not say, TLS is required of every host but this machine. ``session_settings`` are set in one
    round trip after the connection is made, because a pooler (PgBouncer) would refuse them as start-up parameters. With
    them it is asked whether the server may distribute tables (``is_distributed``).
    Raises NoServerError when none of several servers can be used now; else TlsRefusedError, OSError, or the driver's
    errors.
    """

    async def open_one(candidate: Candidate, target: str | None) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(
                dsn=address.url,
                host=candidate.host,
                port=candidate.port,
                target_session_attrs=target,
                ssl=candidate.tls_added,
                timeout=timeout_seconds,
                command_timeout=command_timeout_seconds,
                statement_cache_size=statement_cache_size,
                connection_class=_Connection,
                server_settings={"application_name": application_name, "timezone": "UTC"},
            )
        except ConnectionError as error:
            # The driver raises ConnectionError itself, and no subclass of it, only where client and server do not agree
            # on TLS.
            if type(error) is ConnectionError and candidate.tls_required:
                raise TlsRefusedError(candidate.location) from None
            raise

    connection = await first_usable(address, open_one)
    _keep_alive(connection)
    if session_settings:
        try:
            found = await connection.execute(f"{_set(session_settings)};{_FIND_CITUS}", timeout=timeout_seconds)
            connection.is_distributed = found != _NOT_FOUND
            if connection.is_distributed:
                await connection.execute(_FOR_CITUS, timeout=timeout_seconds)
        except BaseException:
            connection.terminate()
            raise
    return connection


def _set(settings: Mapping[str, str]) -> str:
    """Return the statements that set ``settings`` for the session. The names are constants, so they need no quotes."""
    return ";".join(f"SET {name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items())


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # the driver carries no type information
    """The driver's connection with short limits on closing and cancelling, because the server may not answer, without
    cancelling a COMMIT, and with a ``beginning``: statements that are sent with BEGIN, of the transaction that it
    begins (``plans``). It knows whether tables of its database may be distributed over nodes (Citus).

    A primary with a synchronous standby answers a COMMIT when the standby has it. Cancelled meanwhile, it stops to wait
    and shows the transaction to everybody: whoever finds it there would acknowledge what a failover may lose. A COMMIT
    whose connection has gone goes on waiting, and nobody sees it until the standby has it.
    """

    beginning = ""
    is_distributed = False
    _commits = False

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - likewise
        self._commits = query == _COMMIT
        if self.beginning and query.startswith(_BEGIN):
            query += self.beginning
        try:
            return str(await super().execute(query, *args, timeout=timeout))
        finally:
            self._commits = False

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's own signature
        """Close within _CLOSE_SECONDS_MAX: with a request to cancel what still runs, or without one when time is up."""
        with suppress(TimeoutError):  # the driver has terminated the connection then
            await super().close(timeout=min(timeout or _CLOSE_SECONDS_MAX, _CLOSE_SECONDS_MAX))

    def _cancel_current_command(self, waiter: Any, cancel_waiter: Any = None) -> None:
        """Ask the server to cancel the statement of a caller who went away, as the driver does. Terminate the
        connection if the server does not acknowledge in time: the ROLLBACK that comes next would wait for it. A COMMIT
        is not cancelled: the connection is terminated.
        """
        if self._commits:
            self._loop.call_soon(self.terminate)  # not at once: the driver is about to tell the caller what happened
            return
        super()._cancel_current_command(waiter, cancel_waiter)
        self._loop.call_later(_CANCEL_SECONDS_MAX, self._end_unless_done, cancel_waiter)

    def _end_unless_done(self, acknowledged: Any) -> None:
        if not self.is_closed() and (acknowledged is None or not acknowledged.done()):
            self.terminate()


def _keep_alive(connection: asyncpg.Connection) -> None:
    """Turn on TCP keepalive, so that no firewall or address translation drops the idle connection, and let the system
    end a connection on which the server acknowledges nothing.
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
    # The socket object of the event loop does not allow to set options; another object for the same socket does.
    with socket.socket(fileno=os.dup(own.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):  # not every system has them all
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
