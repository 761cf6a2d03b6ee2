"""One HTTP server in one process: its connections, their budgets, the watch over them, and its end."""

import asyncio
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from typing import Any

from service.server.connection import Connection
from service.server.exchange import Exchange
from service.server.limits import Limits
from service.server.refusals import Refusal, Refuse

logger = logging.getLogger(__name__)

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

BACKLOG = 4096
"""Connections that the kernel keeps until they are accepted."""

_READ_BYTES = 64 * 1024
_WATCH_SECONDS = 0.5
_STOP_POLL_SECONDS = 0.02
_GOODBYE_SECONDS = 0.5
"""How long a connection whose last answer is sent waits for its peer to close, once the server stops."""
_DESCRIPTORS_KEPT = 256
"""Open files that are not for connections: the database's, the log, the listeners."""


class HttpServer:
    """Serves ``app``. ``refuse`` makes the answers that are given without it.

    ``draining`` makes every answer the last one of its connection, while new connections are still accepted. When there
    are more connections than ``limits.connections_max`` (or than the process may open files), the one that has waited
    longest for a request makes room. ``unsent_bytes`` and ``bodies_bytes`` are how much of each budget is used.
    """

    def __init__(self, app: Application, limits: Limits, refuse: Refuse) -> None:
        self.limits = limits
        self.refuse = refuse
        self.draining = False
        self.date_line = b""
        self.buffer = memoryview(bytearray(_READ_BYTES))
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._app = app
        self._connections_max = min(limits.connections_max, _open_files_max() - _DESCRIPTORS_KEPT)
        self._connections: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}
        self._unsent: dict[Connection, None] = {}
        self.unsent_bytes = 0
        self.bodies_bytes = 0
        self._tasks: dict[Exchange, asyncio.Task[None]] = {}
        self._listeners: list[asyncio.Server] = []
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on ``sockets``, which are bound; they belong to the server from now on."""
        self._tell_date()
        for listener in sockets:
            self._listeners.append(
                await self._loop.create_server(lambda: Connection(self), sock=listener, backlog=BACKLOG)
            )
        self._watch = asyncio.create_task(self._watch_connections(), name="http-watch")

    async def stop(self) -> None:
        """Accept nothing more, finish what is under way within ``limits.drain_seconds_max``, close the rest."""
        self.draining = self._stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in [one for one in self._waiting if not one.in_head]:
            connection.end_waiting()
        hurry = self.now() + self.limits.unread_seconds_max
        for connection in self._connections:
            connection.hurry(hurry)
        await self._until(lambda: not any(one.busy for one in self._connections), self.limits.drain_seconds_max)
        await self._until(lambda: not self._connections, _GOODBYE_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        await self._until(lambda: not self._tasks, self.limits.drain_seconds_max)
        for task in [*self._tasks.values(), self._watch]:
            if task is not None:
                task.cancel()

    async def _until(self, reached: Callable[[], bool], seconds_max: float) -> None:
        end = self.now() + seconds_max
        while not reached() and self.now() < end:  # noqa: ASYNC110 - many things bring it about, and only once
            await asyncio.sleep(_STOP_POLL_SECONDS)

    # From connections.

    def add(self, connection: Connection) -> None:
        """Take a new connection; with too many of them, the one that has waited longest is closed."""
        self._connections.add(connection)
        if len(self._connections) > self._connections_max:
            next(iter(self._waiting), connection).abort()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)
        self._waiting.pop(connection, None)
        self.remove_unsent(connection)

    def add_waiting(self, connection: Connection) -> None:
        """Note that ``connection`` waits for a request; once the server stops, none is to come."""
        if self._stopping and not connection.in_head:
            connection.end_waiting()
        else:
            self._waiting[connection] = None

    def remove_waiting(self, connection: Connection) -> None:
        """Note that ``connection`` waits no longer."""
        self._waiting.pop(connection, None)

    def begin(self, connection: Connection, exchange: Exchange) -> None:
        """Have the application answer ``exchange``."""
        self._waiting.pop(connection, None)
        # Kept until it is done: the loop itself holds tasks weakly. (A callback for its end would cost another turn.)
        self._tasks[exchange] = self._loop.create_task(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
            reason = "the application gave no whole answer"
        except Exception:
            logger.exception("the application failed", extra={"path": exchange.scope["path"]})
            reason = "the application failed"
        finally:
            del self._tasks[exchange]
        if not exchange.answered:
            logger.error("no answer", extra={"path": exchange.scope["path"], "reason": reason})
            exchange.fail(self.refuse(Refusal.FAULT, "", exchange.scope["path"]))

    def add_body(self, nbytes: int) -> int:
        """Count ``nbytes`` of a body; return how many are being held."""
        self.bodies_bytes += nbytes
        return self.bodies_bytes

    def release_body(self, exchange: Exchange) -> None:
        """Count the body of ``exchange`` no more."""
        self.bodies_bytes -= exchange.held_bytes
        exchange.held_bytes = 0

    def add_unsent(self, connection: Connection) -> None:
        """Note that the peer of ``connection`` does not take its answers. When too much waits in all, whoever has been
        slow for longest is cut off.
        """
        self._unsent[connection] = None
        self.unsent_bytes += connection.unsent_bytes
        while self.unsent_bytes > self.limits.unsent_bytes_max and self._unsent:
            slowest = next(iter(self._unsent))
            self.remove_unsent(slowest)
            slowest.abort()

    def change_unsent(self, connection: Connection, unsent_bytes: int) -> None:
        """Note how much ``connection`` still has to send."""
        if connection in self._unsent:
            self.unsent_bytes += unsent_bytes - connection.unsent_bytes
        connection.unsent_bytes = unsent_bytes

    def remove_unsent(self, connection: Connection) -> None:
        """Note that ``connection`` has sent everything, or never will."""
        if connection in self._unsent:
            del self._unsent[connection]
            self.unsent_bytes -= connection.unsent_bytes

    async def _watch_connections(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            self._tell_date()
            now = self.now()
            for connection in list(self._connections):
                if connection.unsent_bytes or connection.deadline <= now:
                    self._check(connection, now)

    def _check(self, connection: Connection, now: float) -> None:
        try:
            connection.check(now)
        except Exception:
            logger.exception("a connection could not be ended as it should")
            connection.abort()

    def _tell_date(self) -> None:
        self.date_line = f"date: {formatdate(usegmt=True)}\r\n".encode()


def _open_files_max() -> int:
    """Return how many files this process may have open, having asked for as many as it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20
