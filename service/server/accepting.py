"""Accepts connections on a listening socket, several in one iteration of the event loop."""

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

_AT_ONCE = 16
"""How many connections one iteration accepts at most: a few, so that other processes that listen on the same socket get
theirs.
"""
_PAUSE_SECONDS = 1.0
"""How long nothing is accepted after the system could not open another connection."""


class Acceptor:
    """Accepts connections on ``listener``, which is bound and which it owns, each with a protocol of ``make_protocol``.

    libuv itself accepts one connection in an iteration of the loop. A burst of connections would then make a new caller
    wait for as many iterations as there are connections before his, while each iteration works for those accepted.
    """

    def __init__(self, listener: socket.socket, make_protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Listen; the kernel keeps up to ``backlog`` connections until they are accepted."""
        self._listener.settimeout(0)
        self._listener.listen(backlog)
        self._resume()

    def close(self) -> None:
        """Accept nothing more, and close the listening socket."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                logger.exception("no connection can be accepted", extra={"pause_seconds": _PAUSE_SECONDS})
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)
                return
            opening = self._loop.create_task(self._open(accepted))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            accepted.settimeout(0)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make_protocol, accepted)
        except OSError:
            logger.debug("a connection ended as it was accepted", exc_info=True)
            accepted.close()
