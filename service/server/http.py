"""The HTTP server of one process: accepts connections, limits what they use in all, and stops them in order."""

import asyncio
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from typing import Any

from service.server.accepting import Acceptor
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
_PEER_CLOSE_SECONDS_MAX = 0.5
"""How long the stopping server waits for peers to close the connections whose last answer is sent."""
_CANCEL_SECONDS_MAX = 1.0
"""How long tasks that are cancelled at the end may take to clean up."""
_DESCRIPTORS_KEPT = 256
"""Open files that are kept for other things than callers' connections: the database, the log, the listeners."""


class HttpServer:
    """Serves the application ``app``; ``refuse`` makes the answers to requests that never reach it.

    ``draining`` makes every answer the last one of its connection, while new connections are still accepted. When there
    are more connections than ``limits.connections_max`` (or than the process may open files), the connection that has
    waited longest for a request is closed. ``unsent_bytes`` and ``bodies_bytes`` are how much of each budget is used.
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
        self._acceptors: list[Acceptor] = []
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on ``sockets``, which are bound. The server owns them from now on and closes them."""
        self._tell_date()
        for listener in sockets:
            acceptor = Acceptor(listener, lambda: Connection(self))
            acceptor.start(BACKLOG)
            self._acceptors.append(acceptor)
        self._watch = asyncio.create_task(self._watch_connections(), name="http-watch")

    async def stop(self) -> None:
        """Accept nothing more, finish the requests under way within ``limits.drain_seconds_max``, close the rest."""
        self.draining = self._stopping = True
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in [one for one in self._waiting if not one.in_head]:
            connection.end_waiting()
        hurry = self.now() + self.limits.unread_seconds_max
        for connection in self._connections:
            connection.hurry(hurry)
        await self._until(lambda: not any(one.busy for one in self._connections), self.limits.drain_seconds_max)
        await self._until(lambda: not self._connections, _PEER_CLOSE_SECONDS_MAX)
        for connection in list(self._connections):
            connection.abort()
        await self._until(lambda: not self._tasks, self.limits.drain_seconds_max)
        left = [task for task in (*self._tasks.values(), self._watch) if task is not None]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_CANCEL_SECONDS_MAX)

    async def _until(self, reached: Callable[[], bool], seconds_max: float) -> None:
        end = self.now() + seconds_max
        while not reached() and self.now() < end:  # noqa: ASYNC110 - no single event tells it, and it happens once
            await asyncio.sleep(_STOP_POLL_SECONDS)

    # Called by connections.

    def add(self, connection: Connection) -> None:
        """Add a new connection. If there are too many then, close the one that has waited longest for a request."""
        self._connections.add(connection)
        if len(self._connections) > self._connections_max:
            oldest = next(iter(self._waiting), connection)
            self.remove(oldest)  # it is lost in the next iteration, and others may be added before
            oldest.abort()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)
        self._waiting.pop(connection, None)
        self.remove_unsent(connection)

    def add_waiting(self, connection: Connection) -> None:
        """Note that ``connection`` waits for a request. Once the server stops, close it instead."""
        if self._stopping and not connection.in_head:
            connection.end_waiting()
        else:
            self._waiting[connection] = None

    def remove_waiting(self, connection: Connection) -> None:
        """Note that ``connection`` waits no longer."""
        self._waiting.pop(connection, None)

    def begin(self, connection: Connection, exchange: Exchange) -> None:
        """Start the application's work on ``exchange``."""
        self._waiting.pop(connection, None)
        # The task is kept until it is done, because the loop holds tasks weakly. It removes itself: a callback for its
        # end would cost another iteration of the loop.
        self._tasks[exchange] = self._loop.create_task(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
            reason = "the application gave no whole answer"
        except Exception:
            logger.exception("the application failed")
            reason = "the application failed"
        finally:
            del self._tasks[exchange]
        if not exchange.answered:
            if not (exchange.started and exchange.left):  # the peer of a long answer may go before its end
                logger.error("no answer", extra={"reason": reason})
            exchange.fail(self.refuse(Refusal.FAULT, "", exchange.scope))

    def add_body(self, nbytes: int) -> int:
        """Count ``nbytes`` of a body; return how many bytes of bodies are held in all."""
        self.bodies_bytes += nbytes
        return self.bodies_bytes

    def release_body(self, exchange: Exchange) -> None:
        """Stop counting the body of ``exchange``."""
        self.bodies_bytes -= exchange.held_bytes
        exchange.held_bytes = 0

    def add_unsent(self, connection: Connection) -> None:
        """Note that the peer of ``connection`` does not take its answers. When too much waits in all, close the
        connections whose peers have been slow for longest.
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
        """Note that ``connection`` has sent everything, or is closed."""
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
    """Raise this process's limit of open files as far as the system allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20
