"""A proxy between the client and the service that fails as networks, proxies and overloaded services do."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit


class Fault(Enum):
    """What happens to a request."""

    LOST = "it never arrives and the connection ends"
    ANSWER_LOST = "it is answered and the connection ends before the answer"
    BODY_CUT = "the connection ends in the middle of the answer"
    SILENCE = "it never arrives, on a connection that stays open"
    ANSWER_SILENCE = "it is answered and the answer never comes, on a connection that stays open"
    BAD_GATEWAY = "it is answered, and a proxy says something else"
    OVERLOADED = "it never arrives, and is answered 503"
    REVOKED = "it never arrives, and is answered 401"


@dataclass(frozen=True)
class Seen:
    """A request that has come."""

    method: str
    path: str
    key: str | None
    body: bytes


def answer(status: int, code: str, *headers: str, retryable: bool) -> bytes:
    told = {
        "type": f"/problems/{code}", "title": code, "status": status, "detail": code, "instance": "/", "code": code,
        "retryable": retryable, "outcome": "not_applied",
    }  # fmt: skip
    return plain(status, json.dumps(told).encode(), "application/problem+json", *headers)


def plain(status: int, body: bytes, media_type: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} .", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class FaultyNetwork:
    """Passes requests to the service at ``upstream``. Those that ``meets`` picks meet ``faults``, in turn, and when
    these are used up ``then``.
    """

    upstream: str
    meets: Callable[[Seen], bool] = lambda seen: seen.method == "POST"
    faults: deque[Fault] = field(default_factory=deque)
    then: Fault | None = None
    retry_after: int = 0
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while await self._request(reader, writer):
                pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_length(head))
        method, path, _ = head.split(b"\r\n")[0].decode().split()
        seen = Seen(method, path, _header(head, "idempotency-key"), body)
        self.seen.append(seen)
        fault = None
        if self.meets(seen):
            fault = self.faults.popleft() if self.faults else self.then
        if fault in {Fault.LOST, Fault.SILENCE}:
            return await _end(reader, silent=fault is Fault.SILENCE)
        if fault in {Fault.OVERLOADED, Fault.REVOKED}:
            wait = f"Retry-After: {self.retry_after}"
            refused = answer(503, "overloaded", wait, retryable=True)
            writer.write(refused if fault is Fault.OVERLOADED else answer(401, "unauthenticated", retryable=False))
            return True
        answered = await self._pass(head, body)
        if fault in {Fault.ANSWER_LOST, Fault.ANSWER_SILENCE}:
            return await _end(reader, silent=fault is Fault.ANSWER_SILENCE)
        if fault is Fault.BAD_GATEWAY:
            answered = plain(502, b"<html>Bad gateway</html>", "text/html")
        writer.write(answered[: -len(answered) // 4] if fault is Fault.BODY_CUT else answered)
        await writer.drain()
        return fault is not Fault.BODY_CUT

    async def _pass(self, head: bytes, body: bytes) -> bytes:
        place = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(head + body)
        answered = await reader.readuntil(b"\r\n\r\n")
        answered += await reader.readexactly(_length(answered))
        writer.close()
        return answered

    def to(self, path_end: str) -> list[Seen]:
        """Return the requests to paths that end so."""
        return [seen for seen in self.seen if seen.path.endswith(path_end)]


async def _end(reader: asyncio.StreamReader, *, silent: bool) -> bool:
    if silent:
        await reader.read()  # until the client gives up
    return False


def _header(head: bytes, name: str) -> str | None:
    found = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return next((value.strip() for field_name, _, value in found if field_name.lower() == name), None)


def _length(head: bytes) -> int:
    return int(_header(head, "content-length") or 0)


@asynccontextmanager
async def faulty_network(upstream: str) -> AsyncIterator[FaultyNetwork]:
    network = FaultyNetwork(upstream)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await network.serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    network.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield network
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
