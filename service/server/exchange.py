"""One request and its answer: what an ASGI application receives and sends (ASGI HTTP specification 2.3)."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from service.server.errors import ExchangeError

if TYPE_CHECKING:
    from service.server.connection import Connection

Headers = Iterable[tuple[bytes, bytes]]

WHOLE_ANSWER = "service.whole_answer"
"""The name of an extension of ASGI in a scope's ``extensions``: a function that sends a whole answer in one call
(``Exchange.answer``) instead of two messages.
"""

CUT_ANSWER = "service.cut_answer"
"""Likewise, a function that ends an answer where it is (``Exchange.cut``)."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CLOSE = b"connection: close\r\n"
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Exchange:
    """A request on ``connection``, whose body may still be arriving, and the answer to it.

    ``held_bytes`` counts the bytes of the body that have arrived, ``buffered_bytes`` those of them that the application
    has not taken yet.
    """

    __slots__ = (
        "_answer_left",
        "_chunked",
        "_chunks",
        "_connection",
        "_head",
        "_peer_ended",
        "_waiter",
        "_whole_taken",
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
        self._whole_taken = False
        self._peer_ended = False
        scope["extensions"] = {WHOLE_ANSWER: self.answer, CUT_ANSWER: self.cut}

    # Called by the connection.

    def add_body(self, chunk: bytes) -> None:
        """Add a part of the body."""
        self.held_bytes += len(chunk)
        self.buffered_bytes += len(chunk)
        self._chunks.append(chunk)
        self._wake()

    def end_body(self) -> None:
        """Note that the body is complete."""
        self.body_complete = True
        self._wake()

    def lose(self) -> None:
        """Note that the rest of the body will not come."""
        self.gone = True
        self._wake()

    def end_peer(self) -> None:
        """Note that the peer has closed its side, and may not read on."""
        self._peer_ended = True
        self._wake()

    @property
    def left(self) -> bool:
        """Whether the peer has gone, or closed its side."""
        return self.gone or self._peer_ended

    def abandon(self) -> bool:
        """Drop whatever the application sends from now on. Return whether an answer has begun."""
        begun = self.started or self.answered
        self.answered = True
        self.lose()
        return begun

    # Called by the application.

    async def receive(self) -> dict[str, Any]:
        """Return the next part of the body (``http.request``), or ``http.disconnect`` when the rest will not come or
        the answer has been given. After the whole body, wait for the latter, or for the peer to go or to close its
        side: nobody reads a long answer then.
        """
        while not self._chunks and not self.body_complete and not self.gone:
            self._connection.await_body(self)
            await self._wait()
        while self._whole_taken and not self.left and not self.answered:
            await self._wait()
        if self.answered or self._whole_taken or (self.gone and not self._chunks and not self.body_complete):
            return {"type": "http.disconnect"}
        self._whole_taken = self.body_complete
        chunks, self._chunks = self._chunks, []
        self.buffered_bytes = 0
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: dict[str, Any]) -> None:
        """Send a part of the answer; wait while the peer does not read a long one. Raises ExchangeError for a message
        in the wrong order, a header with a line break, or a body whose length is not the content-length.
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
        """Send ``answer`` for an application that failed. If its own answer had begun, close the connection instead."""
        if self.started:
            self._connection.abort()
            return
        self._chunked = self.keep_alive = False
        self.answer(*answer)

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer, and add the length of ``body`` to ``headers``. Raises as ``send`` does."""
        if self.answered and self.gone:
            return
        self._head = self._make_head(status, [*headers, (b"content-length", str(len(body)).encode())])
        self._send_body(body, more=False)

    def cut(self) -> None:
        """End the answer where it is: close the connection without the answer's end, so that the peer sees that it is
        not whole.
        """
        self.abandon()
        self._connection.abort()

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
            self._wake()
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

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
