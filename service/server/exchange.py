"""One request and its answer: what an ASGI application receives and sends (ASGI HTTP specification 2.3)."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.server.connection import Connection

Headers = Iterable[tuple[bytes, bytes]]

WHOLE_ANSWER = "service.whole_answer"
"""An extension of ASGI, by its name in a scope's ``extensions``: a function that answers whole (``Exchange.answer``),
which saves two messages.
"""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CLOSE = b"connection: close\r\n"
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class ExchangeError(Exception):
    """The application sent what HTTP does not allow."""


class Exchange:
    """A request on ``connection``, read as its body arrives, and the answer to it.

    ``held_bytes`` is how much of the body has arrived, ``buffered_bytes`` what the application has not taken of it.
    """

    __slots__ = (
        "_answer_left",
        "_chunked",
        "_chunks",
        "_connection",
        "_head",
        "_waiter",
        "answered",
        "body_complete",
        "buffered_bytes",
        "continue_expected",
        "gone",
        "held_bytes",
        "keep_alive",
        "scope",
        "started",
    )

    def __init__(
        self, connection: "Connection", scope: dict[str, Any], *, keep_alive: bool, continue_expected: bool
    ) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.continue_expected = continue_expected
        self.body_complete = False
        self.gone = False
        self.started = False
        self.answered = False
        self.held_bytes = 0
        self.buffered_bytes = 0
        self._connection = connection
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None
        self._chunked = False
        self._answer_left: int | None = None
        scope["extensions"] = {WHOLE_ANSWER: self.answer}

    # From the connection.

    def add_body(self, chunk: bytes) -> None:
        """Take a part of the body."""
        self.held_bytes += len(chunk)
        self.buffered_bytes += len(chunk)
        self._chunks.append(chunk)
        self._wake()

    def end_body(self) -> None:
        """Take the end of the body."""
        self.body_complete = True
        self._wake()

    def lose(self) -> None:
        """The rest of the body will not come."""
        self.gone = True
        self._wake()

    def abandon(self) -> bool:
        """Take the exchange from the application: what it sends is dropped. Return whether an answer has begun."""
        begun = self.started or self.answered
        self.answered = True
        self.lose()
        return begun

    # From the application.

    async def receive(self) -> dict[str, Any]:
        """Return the next part of the body (``http.request``), or ``http.disconnect``: the rest never comes, or the
        answer has been given.
        """
        while not self._chunks and not self.body_complete and not self.gone:
            self._connection.await_body(self)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.answered or (self.gone and not self.body_complete and not self._chunks):
            return {"type": "http.disconnect"}
        chunks, self._chunks = self._chunks, []
        self.buffered_bytes = 0
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: dict[str, Any]) -> None:
        """Send a part of the answer. Waits only while a long answer is not read; raises ExchangeError for a message
        out of turn, a header that would break the head, or a body of another length than was told.
        """
        if self.answered:
            if self.gone:
                return
            raise ExchangeError(f"{message['type']} after the answer was complete")
        if message["type"] == "http.response.start":
            if self._head is not None or self.started:
                raise ExchangeError("the answer was started twice")
            self._head = self._make_head(message["status"], message.get("headers", ()))
            return
        more = message.get("more_body", False)
        self._send_body(message.get("body", b""), more=more)
        if more:
            await self._connection.drained()

    def fail(self, answer: tuple[int, list[tuple[bytes, bytes]], bytes]) -> None:
        """Answer in place of an application that did not; where it had begun, the connection ends instead."""
        if self.started:
            self._connection.abort()
            return
        self._chunked = self.keep_alive = False
        self.answer(*answer)

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer whole; the length is added to ``headers``. Raises as ``send`` does."""
        if self.answered and self.gone:
            return
        self._head = self._make_head(status, [*headers, (b"content-length", str(len(body)).encode())])
        self._send_body(body, more=False)

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._head is None and not self.started:
            raise ExchangeError("a body before its head")
        if self._answer_left is not None:
            self._answer_left -= len(body)
            if self._answer_left < 0 or (self._answer_left and not more):
                raise ExchangeError("the body has another length than was told")
        if self.scope["method"] == "HEAD":
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        data = body if self._head is None else self._head + body
        self._head = None
        self.started = True
        if data:
            self._connection.write(data)
        if not more:
            self.answered = True
            self._chunks.clear()
            self.buffered_bytes = 0
            self._connection.end_answer(self)

    def _make_head(self, status: int, headers: Headers) -> bytes:
        lines = [_STATUS_LINES[status], self._connection.date_line]
        length = None
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            lines.append(name + b": " + value + b"\r\n")
        bodiless = status in _NO_BODY or self.scope["method"] == "HEAD"
        if length is not None:
            self._answer_left = None if bodiless else length
        elif not bodiless:
            if self.scope["http_version"] == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        if not self.keep_alive or self._connection.last:
            self.keep_alive = False
            lines.append(_CLOSE)
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(lines):
            raise ExchangeError("a header holds a line break")
        return head + b"\r\n"

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
