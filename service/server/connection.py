"""One connection of the HTTP server: has the requests that arrive answered one after the other.

Every wait for the peer has a time limit. ``requests`` parses what arrives.
"""

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from service.server.errors import RefusedError
from service.server.exchange import Exchange
from service.server.refusals import Refusal, Scope
from service.server.requests import RequestParser

if TYPE_CHECKING:
    from service.server.http import HttpServer

_BUFFERED_BYTES_MAX = 64 * 1024
"""How much of a body may wait for the application before reading stops."""


class Connection(asyncio.BufferedProtocol):
    """The server's side of one connection: waits for a request, receives it, has it answered, waits for the next one.

    ``deadline`` is the time, by the event loop's clock, until which the server waits for the peer; it is infinite while
    the application works. Requests that arrive while another one is being answered (pipelining) wait in their order of
    arrival, and the server reads nothing more from the peer until it takes them.
    """

    __slots__ = (
        "_answering",
        "_closing",
        "_dropped_bytes",
        "_ended",
        "_incoming",
        "_pending",
        "_reading",
        "_refusal",
        "_requests",
        "_server",
        "_transport",
        "_writer",
        "deadline",
        "own",
        "peer",
        "unsent_bytes",
    )

    def __init__(self, server: "HttpServer") -> None:
        self.deadline = math.inf
        self.unsent_bytes = 0
        self._server = server
        self._requests = RequestParser(self)
        self._incoming: Exchange | None = None  # the one whose body is arriving
        self._answering: Exchange | None = None
        self._pending: deque[Exchange] = deque()
        self._refusal: tuple[Refusal, str, Scope | None] | None = (
            None  # answered after the requests that arrived before it
        )
        self._reading = True
        self._ended = False  # the peer sends no more
        self._closing = False  # nothing more is received or sent
        self._dropped_bytes = 0
        self._writer: asyncio.Future[None] | None = None  # waits until all is sent

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast("asyncio.Transport", transport)
        # With a limit of 0, ``pause_writing`` is called as soon as the peer does not take all that was written.
        self._transport.set_write_buffer_limits(high=0)
        self.peer = transport.get_extra_info("peername")
        self.own = transport.get_extra_info("sockname")
        self._server.add(self)
        if not self._closing:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection. The application goes on with its requests, and their answers are dropped."""
        del exc
        self._closing = True
        self._server.remove(self)
        under_way = {exchange for exchange in (self._answering, self._incoming, *self._pending) if exchange is not None}
        for exchange in under_way:
            exchange.lose()
            self._server.release_body(exchange)
        self._pending.clear()
        self._answering = self._incoming = None
        self._requests.close()
        self._wake_writer()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for what is read. All connections share one, because what was read is parsed at once."""
        del sizehint
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse the ``nbytes`` that were read into the buffer."""
        if self._closing or self._refusal is not None:
            self._drop(nbytes)
            return
        self._requests.feed(self._server.buffer[:nbytes])
        if self._requests.in_head and not self._closing:
            self._follow_head(nbytes)
        self._follow_reading()

    def eof_received(self) -> bool:
        """Return whether to keep the connection open: a client may close its side and still read its answers."""
        self._ended = True
        if self._incoming is not None:
            self._incoming.lose()
        if self._answering is not None:
            self._answering.end_peer()
        return self._answering is not None or (bool(self.unsent_bytes) and not self._closing)

    def pause_writing(self) -> None:
        """Limit the time: the peer does not take all that was written."""
        self.unsent_bytes = self._transport.get_write_buffer_size()
        self.deadline = self._server.now() + self._server.limits.write_seconds_max
        self._server.add_unsent(self)
        self._follow_reading()

    def resume_writing(self) -> None:
        """Go on with the connection: the peer has taken everything that was written."""
        self._server.remove_unsent(self)
        self.unsent_bytes = 0
        self.deadline = math.inf
        self._wake_writer()
        if self._closing or (self._answering is not None and self._answering.answered):
            self.deadline = self._server.now() + self._server.limits.unread_seconds_max
        elif self._answering is None:
            self._go_on()
        self._follow_reading()

    # Called by the parser of requests.

    def begin_request(self, scope: dict[str, Any], *, keep_alive: bool, continue_expected: bool) -> None:
        """Make an exchange of a head that is complete, and have it answered in its turn."""
        self._incoming = exchange = Exchange(self, scope, keep_alive=keep_alive, continue_expected=continue_expected)
        if self._answering is None and not self.unsent_bytes:
            self._start(exchange)
        else:
            self._pending.append(exchange)

    def add_body(self, chunk: bytes) -> None:
        """Give a part of the body to its exchange. Raises RefusedError when too much is held in all."""
        exchange = self._incoming
        if exchange is None:
            return
        if exchange.answered:
            self._drop(len(chunk))
            return
        exchange.add_body(chunk)
        limits = self._server.limits
        if self.deadline != math.inf:
            worth = len(chunk) / limits.rate_bytes_per_second_min
            self.deadline = min(self.deadline + worth, self._server.now() + limits.body_seconds_max)
        if self._server.add_body(len(chunk)) > limits.bodies_bytes_max:
            raise RefusedError(Refusal.OVERLOADED, "Too many large bodies are being received.")

    def end_body(self) -> None:
        """Note that the body is complete."""
        exchange, self._incoming = self._incoming, None
        if exchange is None:
            return
        exchange.end_body()
        if exchange is self._answering and not self.unsent_bytes:
            self.deadline = math.inf
            if exchange.answered:
                self._finish(exchange)

    def last_was_answered(self) -> bool:
        """Whether the latest request closes the connection. Then what the parser finds after it does not matter."""
        latest = self._pending[-1] if self._pending else self._answering
        return self._incoming is None and latest is not None and not latest.keep_alive

    def refuse(self, refusal: Refusal, detail: str) -> None:
        """Answer the request that is arriving with a refusal, once the requests before it are answered, and close."""
        self._requests.in_head = False
        failed, self._incoming = self._incoming, None
        if failed is not None and failed is self._answering:
            self._answering = None
            self._server.release_body(failed)
            already_answered = failed.abandon()
            if already_answered:
                self._linger()
            else:
                self._answer_refusal(refusal, detail, failed.scope)
            return
        scope = None
        if failed is not None:
            scope = failed.scope
            self._pending.remove(failed)
            self._server.release_body(failed)
        if self._answering is None and not self.unsent_bytes:
            self._answer_refusal(refusal, detail, scope)
        else:
            self._refusal = (refusal, detail, scope)

    # Called by the application, through its exchange.

    @property
    def date_line(self) -> bytes:
        """The Date header with the present time, as a line."""
        return self._server.date_line

    @property
    def last(self) -> bool:
        """Whether the answer under way is the last one of this connection."""
        return self._server.draining or self._ended

    def await_body(self, exchange: Exchange) -> None:
        """Read on for the application, which waits for more of its request's body."""
        if exchange.continue_expected:
            exchange.continue_expected = False
            if not exchange.held_bytes:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.deadline == math.inf:
            self.deadline = self._server.now() + self._server.limits.body_seconds_max
        self._follow_reading()

    def write(self, data: bytes) -> None:
        """Write ``data``, unless the connection is closing."""
        if not self._closing:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the peer has taken what was written, or has gone."""
        if self.unsent_bytes and not self._closing:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    def end_answer(self, exchange: Exchange) -> None:
        """End an exchange whose answer is written. The rest of the request's body is read and dropped, because a client
        may send all of it before it reads the answer (RFC 9112, section 9.6).
        """
        if exchange is not self._answering:
            return
        if exchange.body_complete:
            self._finish(exchange)
        elif exchange.gone or exchange.continue_expected:  # the body will not come, or it is not known whether it will
            exchange.keep_alive = False
            self._incoming = None
            self._finish(exchange)
        elif not self.unsent_bytes:
            self.deadline = self._server.now() + self._server.limits.unread_seconds_max
            self._follow_reading()

    # Called by the server.

    @property
    def in_head(self) -> bool:
        """Whether a part of a request's head has arrived."""
        return self._requests.in_head

    @property
    def busy(self) -> bool:
        """Whether a request is arriving or being answered."""
        under_way = self._answering is not None or self._requests.in_head or bool(self._pending)
        return bool(self.unsent_bytes) or (under_way and not self._closing)

    def check(self, now: float) -> None:
        """End the wait for the peer when ``now`` is past the deadline: refuse a request that is late, or close."""
        if self.unsent_bytes:
            self._follow_writing(now)
        if now < self.deadline:
            return
        if self.unsent_bytes or self._closing:
            self.abort()
        elif self._requests.in_head or self._incoming is not None:
            self.refuse(Refusal.TOO_SLOW, "The request did not arrive in time.")
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once. What has not been sent is lost."""
        self._closing = True
        self._transport.abort()

    def end_waiting(self) -> None:
        """Close the connection, which waits for a request, because the server takes no more."""
        self._closing = True
        self._transport.close()

    def hurry(self, deadline: float) -> None:
        """Wait until ``deadline`` at most for the rest of a request, or for the peer to close its side."""
        if self._closing or self._requests.in_head or self._incoming is not None:
            self.deadline = min(self.deadline, deadline)

    # Used by this class alone.

    def _wait(self) -> None:
        """Wait for the next request, or for the rest of its head."""
        limits = self._server.limits
        self.deadline = self._server.now() + (
            limits.head_seconds_max if self._requests.in_head else limits.idle_seconds_max
        )
        self._server.add_waiting(self)

    def _start(self, exchange: Exchange) -> None:
        self._answering = exchange
        self.deadline = math.inf
        self._server.begin(self, exchange)

    def _finish(self, exchange: Exchange) -> None:
        """Take the next request, or close: this one is received and answered."""
        self._answering = None
        self._server.release_body(exchange)
        if not exchange.keep_alive:
            self._linger()
        elif not self.unsent_bytes:
            self._go_on()

    def _go_on(self) -> None:
        if self._pending:
            self._start(self._pending.popleft())
        elif self._refusal is not None:
            self._answer_refusal(*self._refusal)
        elif self._ended:
            self._linger()
        else:
            self._wait()
        self._follow_reading()

    def _linger(self) -> None:
        """Close so that the peer can read all that was sent. Closing a socket that holds unread bytes resets the
        connection, and the answer is lost. So only our side is closed, until the peer closes its own.
        """
        if self._closing:
            return
        self._closing = True
        self._server.remove_waiting(self)
        if self._ended:
            self._transport.close()
            return
        self._transport.write_eof()
        if not self.unsent_bytes:
            self.deadline = self._server.now() + self._server.limits.unread_seconds_max
        self._follow_reading()

    def _follow_head(self, nbytes: int) -> None:
        """Bound the time and the size of a head that has begun to arrive."""
        if not self._requests.head_begun and self._answering is None:
            self.deadline = self._server.now() + self._server.limits.head_seconds_max
        self._requests.count_head(nbytes, self._server.limits.head_bytes_max)

    def _follow_reading(self) -> None:
        """Read on, or pause reading until the application has taken the body, or the peer its answers."""
        if self._closing:
            wanted = True
        elif self.unsent_bytes or self._pending:
            wanted = False
        else:
            incoming = self._incoming
            wanted = incoming is None or incoming.answered or incoming.buffered_bytes < _BUFFERED_BYTES_MAX
            if not wanted:
                self.deadline = math.inf  # the server does not wait for the peer now
        if wanted is not self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _follow_writing(self, now: float) -> None:
        """Give the peer more time for what it has taken since the last check."""
        limits = self._server.limits
        left = self._transport.get_write_buffer_size()
        taken = self.unsent_bytes - left
        self.deadline = min(self.deadline + taken / limits.rate_bytes_per_second_min, now + limits.write_seconds_max)
        self._server.change_unsent(self, left)

    def _drop(self, nbytes: int) -> None:
        """Count bytes that arrive and are not needed; abort the connection when they are too many."""
        self._dropped_bytes += nbytes
        if self._dropped_bytes > self._server.limits.unread_bytes_max:
            self.abort()

    def _answer_refusal(self, refusal: Refusal, detail: str, scope: Scope | None) -> None:
        self._server.remove_waiting(self)
        exchange = Exchange(self, {"method": "GET", "http_version": "1.1"}, keep_alive=False, continue_expected=False)
        exchange.answer(*self._server.refuse(refusal, detail, scope))
        self._linger()

    def _wake_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)
