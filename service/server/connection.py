"""One connection: requests parsed by llhttp (httptools), answered one after the other, every wait bounded.

llhttp in its strict mode refuses what proxies and servers have understood differently (request smuggling): a length
beside chunks, bare line feeds, folded headers, spaces before a colon. ``heads`` has what RFC 9112 wants beyond that.
"""

import asyncio
import math
from collections import deque
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools

from service.server.exchange import Exchange
from service.server.heads import TARGET_BYTES_MAX, RefusedError, check_head, split_target, without_upgrade
from service.server.refusals import Refusal

if TYPE_CHECKING:
    from service.server.http import HttpServer

_BUFFERED_BYTES_MAX = 64 * 1024
"""How much of a body may wait for the application before reading stops."""

_ASGI = {"version": "3.0", "spec_version": "2.3"}


class Connection(asyncio.BufferedProtocol):
    """The server's side of one connection: waits for a request, receives it, has it answered, waits for the next.

    ``deadline`` is the loop's time until which the peer is waited for: infinite while the application works.
    Requests that come while one is being answered (pipelining) wait in their order, and no more are read meanwhile.
    """

    __slots__ = (
        "_answering",
        "_closing",
        "_dropped_bytes",
        "_ended",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_incoming",
        "_own",
        "_parser",
        "_peer",
        "_pending",
        "_reading",
        "_refusal",
        "_server",
        "_target",
        "_transport",
        "_writer",
        "deadline",
        "unsent_bytes",
    )

    def __init__(self, server: "HttpServer") -> None:
        self.deadline = math.inf
        self.unsent_bytes = 0
        self._server = server
        self._parser: Any = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: MutableSequence[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._in_head = False
        self._incoming: Exchange | None = None  # whose body is arriving
        self._answering: Exchange | None = None
        self._pending: deque[Exchange] = deque()
        self._refusal: tuple[Refusal, str] | None = None  # to be answered after what came before it
        self._reading = True
        self._ended = False  # the peer sends no more
        self._closing = False  # nothing more is taken or sent
        self._dropped_bytes = 0
        self._writer: asyncio.Future[None] | None = None  # waits until all is sent

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast("asyncio.Transport", transport)
        # ``pause_writing`` is to say at once that the peer does not take what was written.
        self._transport.set_write_buffer_limits(high=0)
        self._peer = transport.get_extra_info("peername")
        self._own = transport.get_extra_info("sockname")
        self._server.add(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection. What the application does goes on; nobody hears of it."""
        del exc
        self._closing = True
        self._server.remove(self)
        under_way = {exchange for exchange in (self._answering, self._incoming, *self._pending) if exchange is not None}
        for exchange in under_way:
            exchange.lose()
            self._server.release_body(exchange)
        self._pending.clear()
        self._answering = self._incoming = self._parser = None
        self._wake_writer()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the transport reads to. All connections share it: what was read is parsed at once."""
        del sizehint
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what has been read."""
        if self._closing or self._refusal is not None:
            self._drop(nbytes)
            return
        self._feed(self._server.buffer[:nbytes])
        if self._in_head and not self._closing:
            self._follow_head(nbytes)
        self._follow_reading()

    def eof_received(self) -> bool:
        """Keep the connection while there is something to answer: a client may close its side and still read."""
        self._ended = True
        if self._incoming is not None:
            self._incoming.lose()
        return self._answering is not None or (bool(self.unsent_bytes) and not self._closing)

    def pause_writing(self) -> None:
        """The peer does not take all that was written."""
        self.unsent_bytes = self._transport.get_write_buffer_size()
        self.deadline = self._server.now() + self._server.limits.write_seconds_max
        self._server.add_unsent(self)
        self._follow_reading()

    def resume_writing(self) -> None:
        """The peer has taken everything."""
        self._server.remove_unsent(self)
        self.unsent_bytes = 0
        self.deadline = math.inf
        self._wake_writer()
        if self._closing or (self._answering is not None and self._answering.answered):
            self.deadline = self._server.now() + self._server.limits.unread_seconds_max
        elif self._answering is None:
            self._go_on()
        self._follow_reading()

    # From the parser.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._target = b""
        self._headers = []
        self._head_bytes = 0
        self._in_head = True

    def on_url(self, part: bytes) -> None:
        """Take a part of the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is dropped."""
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Take the head: from here on the application can answer."""
        if self._parser.should_upgrade():
            return
        self._in_head = False
        version = self._parser.get_http_version()
        headers, self._headers = cast("list[tuple[bytes, bytes]]", self._headers), deque(maxlen=0)
        values = dict(headers)
        check_head(version, headers, values)
        raw_path, query = split_target(self._target)
        path = raw_path.decode("ascii")
        self._incoming = exchange = Exchange(
            self,
            {
                "type": "http",
                "asgi": _ASGI,
                "http_version": version,
                "method": self._parser.get_method().decode("ascii"),
                "scheme": "http",
                "path": unquote(path) if "%" in path else path,
                "raw_path": raw_path,
                "query_string": query,
                "root_path": "",
                "headers": headers,
                "client": self._peer,
                "server": self._own,
                "state": {},
            },
            keep_alive=version == "1.1" and self._parser.should_keep_alive(),
            continue_expected=values.get(b"expect", b"").lower() == b"100-continue",
        )
        if self._answering is None and not self.unsent_bytes:
            self._start(exchange)
        else:
            self._pending.append(exchange)

    def on_body(self, chunk: bytes) -> None:
        """Take a part of the body."""
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

    def on_message_complete(self) -> None:
        """Take the end of the body."""
        exchange, self._incoming = self._incoming, None
        if exchange is None:
            return
        exchange.end_body()
        if exchange is self._answering and not self.unsent_bytes:
            self.deadline = math.inf
            if exchange.answered:
                self._finish(exchange)

    # From the application, through its exchange.

    @property
    def date_line(self) -> bytes:
        """The Date header of now, as a line."""
        return self._server.date_line

    @property
    def last(self) -> bool:
        """Whether the answer under way is the last one here."""
        return self._server.draining or self._ended

    def await_body(self, exchange: Exchange) -> None:
        """The application waits for more of its request's body."""
        if exchange.continue_expected:
            exchange.continue_expected = False
            if not exchange.held_bytes:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.deadline == math.inf:
            self.deadline = self._server.now() + self._server.limits.body_seconds_max
        self._follow_reading()

    def write(self, data: bytes) -> None:
        """Write, if there is somebody to read."""
        if not self._closing:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the peer has taken what was written, or has gone."""
        if self.unsent_bytes and not self._closing:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    def end_answer(self, exchange: Exchange) -> None:
        """The answer is written. What is left of the request's body is read and dropped, so that a client hears the
        answer that sends all before it listens (RFC 9112, section 9.6).
        """
        if exchange is not self._answering:
            return
        if exchange.body_complete:
            self._finish(exchange)
        elif exchange.gone or exchange.continue_expected:  # no body, or nobody can tell whether one will come
            exchange.keep_alive = False
            self._incoming = None
            self._finish(exchange)
        elif not self.unsent_bytes:
            self.deadline = self._server.now() + self._server.limits.unread_seconds_max
            self._follow_reading()

    # From the server.

    @property
    def in_head(self) -> bool:
        """Whether a part of a request's head has arrived."""
        return self._in_head

    @property
    def busy(self) -> bool:
        """Whether a request is arriving or being answered."""
        under_way = self._answering is not None or self._in_head or bool(self._pending)
        return bool(self.unsent_bytes) or (under_way and not self._closing)

    def check(self, now: float) -> None:
        """Act when the peer has been waited for long enough."""
        if self.unsent_bytes:
            self._follow_writing(now)
        if now < self.deadline:
            return
        if self.unsent_bytes or self._closing:
            self.abort()
        elif self._in_head or self._incoming is not None:
            self._refuse(Refusal.TOO_SLOW, "The request did not arrive in time.")
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what has not been sent is lost."""
        self._closing = True
        self._transport.abort()

    def end_waiting(self) -> None:
        """Close, for no request is to come any more."""
        self._closing = True
        self._transport.close()

    def hurry(self, deadline: float) -> None:
        """Wait until ``deadline`` at most for the rest of a request, or for the peer to close."""
        if self._closing or self._in_head or self._incoming is not None:
            self.deadline = min(self.deadline, deadline)

    # Within.

    def _wait(self) -> None:
        """Wait for the next request, or for the rest of its head."""
        limits = self._server.limits
        self.deadline = self._server.now() + (limits.head_seconds_max if self._in_head else limits.idle_seconds_max)
        self._server.add_waiting(self)

    def _start(self, exchange: Exchange) -> None:
        self._answering = exchange
        self.deadline = math.inf
        self._server.begin(self, exchange)

    def _finish(self, exchange: Exchange) -> None:
        """The request is received and answered: take the next one, or close."""
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
            self._answer_refusal(*self._refusal, "/")
        elif self._ended:
            self._linger()
        else:
            self._wait()
        self._follow_reading()

    def _linger(self) -> None:
        """Close in a way that lets the peer read all that was sent: a socket that is closed with bytes unread resets
        the connection, and the answer is lost with it. So only our side is closed until the peer closes its own.
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

    def _feed(self, data: "memoryview | bytes") -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            refused = error.__context__
            if isinstance(refused, RefusedError):
                self._refuse(refused.refusal, refused.detail)
            elif not self._last_was_answered():
                self._refuse(Refusal.MALFORMED, f"The request is not valid HTTP/1.1: {error}.")

    def _last_was_answered(self) -> bool:
        """Whether the latest request closes the connection: what the parser finds after it does not matter."""
        latest = self._pending[-1] if self._pending else self._answering
        return self._incoming is None and latest is not None and not latest.keep_alive

    def _decline_upgrade(self, rest: bytes) -> None:
        """Take a request that offers another protocol for what it is without the offer (RFC 9110, section 7.8); some
        clients offer HTTP/2 with every first request. The parser stops at such a head, so it reads it again.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(Refusal.MALFORMED, "CONNECT is not served.")
            return
        head = without_upgrade(method, self._target, self._headers)
        self._parser = httptools.HttpRequestParser(self)
        self._feed(head + rest)

    def _follow_head(self, nbytes: int) -> None:
        """Bound the time and the size of a head that has begun to arrive."""
        if not self._head_bytes and self._answering is None:
            self.deadline = self._server.now() + self._server.limits.head_seconds_max
        self._head_bytes += nbytes
        if self._head_bytes > self._server.limits.head_bytes_max:
            if len(self._target) > TARGET_BYTES_MAX:
                self._refuse(Refusal.TARGET_TOO_LONG, f"A target has at most {TARGET_BYTES_MAX} bytes.")
            else:
                size = self._server.limits.head_bytes_max
                self._refuse(Refusal.HEAD_TOO_LARGE, f"The head of a request has at most {size} bytes.")

    def _follow_reading(self) -> None:
        """Read on, or wait with it until the application has taken the body or the peer its answers."""
        if self._closing:
            wanted = True
        elif self.unsent_bytes or self._pending:
            wanted = False
        else:
            incoming = self._incoming
            wanted = incoming is None or incoming.answered or incoming.buffered_bytes < _BUFFERED_BYTES_MAX
            if not wanted:
                self.deadline = math.inf  # the peer is not waited for
        if wanted is not self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _follow_writing(self, now: float) -> None:
        """Give the peer more time for what it has taken since it was last looked at."""
        limits = self._server.limits
        left = self._transport.get_write_buffer_size()
        taken = self.unsent_bytes - left
        self.deadline = min(self.deadline + taken / limits.rate_bytes_per_second_min, now + limits.write_seconds_max)
        self._server.change_unsent(self, left)

    def _drop(self, nbytes: int) -> None:
        """Count what arrives and nobody wants."""
        self._dropped_bytes += nbytes
        if self._dropped_bytes > self._server.limits.unread_bytes_max:
            self.abort()

    def _refuse(self, refusal: Refusal, detail: str) -> None:
        """Answer the request that is arriving with a refusal, after those that came before it, and close."""
        self._in_head = False
        failed, self._incoming = self._incoming, None
        if failed is not None and failed is self._answering:
            self._answering = None
            self._server.release_body(failed)
            already_answered = failed.abandon()
            if already_answered:
                self._linger()
            else:
                self._answer_refusal(refusal, detail, failed.scope["path"])
            return
        if failed is not None:
            self._pending.remove(failed)
            self._server.release_body(failed)
        if self._answering is None and not self.unsent_bytes:
            self._answer_refusal(refusal, detail, "/")
        else:
            self._refusal = (refusal, detail)

    def _answer_refusal(self, refusal: Refusal, detail: str, path: str) -> None:
        self._server.remove_waiting(self)
        exchange = Exchange(self, {"method": "GET", "http_version": "1.1"}, keep_alive=False, continue_expected=False)
        exchange.answer(*self._server.refuse(refusal, detail, path))
        self._linger()

    def _wake_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)
