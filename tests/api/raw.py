"""HTTP/1.1 written by hand: for requests that no client library would send."""

import asyncio
import contextlib
import json
from typing import Any
from urllib.parse import urlsplit

from tests.support.contract import Contract, Exchange, Headers
from tests.support.servers import RunningService

ANSWER_SECONDS_MAX = 30.0


class Wire:
    """One connection to a service; every answer that it reads is held to the contract."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, contract: Contract) -> None:
        self._reader = reader
        self._writer = writer
        self._contract = contract

    @classmethod
    async def open(cls, service: RunningService, contract: Contract) -> "Wire":
        parts = urlsplit(service.url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port), contract)

    async def send(self, *parts: bytes) -> None:
        """Write ``parts``, each of which the service may read by itself. Raises OSError when it has closed."""
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()

    async def receive(self, asked: str = "GET /") -> Exchange | None:
        """Read one answer to the request that was ``asked``; None when the service closed instead of answering."""
        method, _, target = asked.partition(" ")
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, OSError):
                return None
            status_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers: Headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
            told = int(dict(headers).get("content-length", "0"))
            body = b"" if method == "HEAD" else await self._reader.readexactly(told)
        path, _, query = target.partition("?")
        exchange = Exchange(method, path, query, None, int(status_line.split(" ")[1]), headers, body)
        if body or method == "HEAD":  # what the server refuses by itself has no body
            self._contract.check(exchange)
        return exchange

    async def ended(self) -> bool:
        """Whether the service closes the connection without another byte."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            try:
                return await self._reader.read(1) == b""
            except OSError:
                return True

    def end_sending(self) -> None:
        """Tell the service that nothing more comes; it may have closed already."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def request(asked: str, token: str | None, body: bytes = b"", **headers: str) -> bytes:
    """Return a request with its length; ``headers`` replace those it would have, "-" leaves one out."""
    lines = {
        "Host": "funds",
        "Authorization": f"Bearer {token}" if token else "-",
        "Content-Type": "application/json" if body else "-",
        "Content-Length": str(len(body)) if body else "-",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    written = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value != "-")
    return f"{asked} HTTP/1.1\r\n{written}\r\n".encode() + body


def chunked(*parts: bytes) -> bytes:
    """Return ``parts`` in the chunked coding, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def encoded(content: Any) -> bytes:
    return json.dumps(content).encode()
