"""A small HTTP/1.1 client on plain sockets: faster than the service, and able to break a connection on purpose."""

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

ANSWER_SECONDS_MAX = 30.0


class ConnectionLostError(Exception):
    """The connection ended (or was never made) before a whole answer of the service came: what became of the request is
    unknown.
    """


@dataclass(frozen=True)
class Answer:
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    content: Any

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotency-replayed") == "true"


class Connection:
    """One connection, kept alive from request to request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def ended(self) -> bool:
        """Whether the service has closed the connection."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def send(self, request: bytes) -> None:
        try:
            self._writer.write(request)
            await self._writer.drain()
        except OSError as error:
            raise ConnectionLostError(str(error)) from error

    async def receive(self) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                head = await self._reader.readuntil(b"\r\n\r\n")
                status_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
                pairs = (line.partition(":") for line in lines)
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                content = await self._reader.readexactly(int(headers["content-length"]))
        except TimeoutError:
            raise AssertionError(f"no answer in {ANSWER_SECONDS_MAX} s") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ConnectionLostError(str(error)) from error
        status = int(status_line.split(" ")[1])
        if status >= 500 and "json" not in headers.get("content-type", ""):
            raise ConnectionLostError(f"{status} of a proxy, which does not say what became of the request")
        return Answer(status, headers, json.loads(content) if content else None)

    async def receive_head(self) -> bytes:
        """Return the head of an answer, without what follows it."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def receive_chunked(self) -> tuple[bytes, bool]:
        """Return the rest of a chunked answer, and whether it came to its end before the connection did."""
        received = bytearray()
        with contextlib.suppress(ConnectionError):
            while part := await self._reader.read(2**16):
                received += part
                if received.endswith(b"\r\n0\r\n\r\n"):
                    return bytes(received), True
        return bytes(received), False

    def close(self, *, rudely: bool = False) -> None:
        """Close the connection; ``rudely`` resets it and throws away what has not been sent."""
        if rudely:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def wait_closed(self) -> None:
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Client:
    """Calls one service process; keeps as many connections as requests were ever in flight at once."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self._idle: list[Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        for connection in idle:
            await connection.wait_closed()

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, if_match: str | None = None
    ) -> Answer:
        """Send a request and return its answer. Raises ConnectionLostError."""
        while self._idle and self._idle[-1].ended:
            self._idle.pop().close()
        connection = self._idle.pop() if self._idle else await self.connect()
        try:
            await connection.send(self.request(method, path, body, key=key, if_match=if_match))
            answer = await connection.receive()
        except BaseException:
            connection.close()
            raise
        if answer.headers.get("connection") == "close":
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    async def connect(self, *, receive_bytes: int | None = None) -> Connection:
        """Open a connection of the caller's own; ``receive_bytes`` bounds what the kernel takes in for it unread."""
        parts = urlsplit(self.url)
        sock = socket.socket()
        sock.settimeout(0)  # as the event loop wants it
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
            reader, writer = await asyncio.open_connection(sock=sock, limit=receive_bytes or 2**20)
        except OSError as error:
            sock.close()
            raise ConnectionLostError(str(error)) from error
        return Connection(reader, writer)

    def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, if_match: str | None = None
    ) -> bytes:
        """Return a request as it goes over the wire."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: funds",
            f"Authorization: Bearer {self.token}",
            f"Content-Length: {len(content)}",
        ]
        if content:
            lines.append("Content-Type: application/json")
        if key is not None:
            lines.append(f"Idempotency-Key: {key}")
        if if_match is not None:
            lines.append(f"If-Match: {if_match}")
        return "\r\n".join([*lines, "", ""]).encode() + content
