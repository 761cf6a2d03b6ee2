"""An HTTP server with a small application, which runs on uvloop in a thread of its own, and a client of it."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import uvloop

from service.api.http.problems import refusals
from service.server import http
from service.server.http import HttpServer
from service.server.limits import Limits

SECONDS_MAX = 30.0

# Short enough for tests that wait for them, long enough for a busy machine.
LIMITS = Limits(
    idle_seconds_max=1.0,
    head_seconds_max=1.0,
    body_seconds_max=1.0,
    write_seconds_max=1.0,
    unread_seconds_max=1.0,
    drain_seconds_max=5.0,
    rate_bytes_per_second_min=1000,
    head_bytes_max=16 * 1024,
    bodies_bytes_max=4 * 2**20,
    unsent_bytes_max=8 * 2**20,
    unread_bytes_max=2**20,
)


class Answer(msgspec.Struct):
    """What a peer has read of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(msgspec.json.decode(self.body)["code"])


class Peer:
    """The client's side of one connection."""

    def __init__(self, port: int, *, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(SECONDS_MAX)
        self.socket.connect(("127.0.0.1", port))
        self._read = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, path: str, *headers: str, method: str = "GET") -> None:
        self.send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: funds", *headers, "", ""]).encode())

    def post(self, path: str, body: bytes, *headers: str) -> None:
        self.get(path, f"Content-Length: {len(body)}", *headers, method="POST")
        self.send(body)

    def answer(self, *, head_only: bool = False) -> Answer | None:
        """Read one answer; None when the server closed without one."""
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                return None
        head, self._read = self._read.split(b"\r\n\r\n", 1)
        status_line, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(status_line.split()[1])
        if head_only or status == 100:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        return Answer(status, headers, self._exactly(int(headers["content-length"])))

    def begins_with(self, start: bytes) -> bool:
        """Whether what is read next begins so."""
        while len(self._read) < len(start):
            assert self._more(), "the server closed"
        return self._read.startswith(start)

    def ended(self) -> bool:
        """Whether the server closes without another byte."""
        try:
            return not self._read and not self._more()
        except ConnectionError:
            return True

    def _more(self) -> bool:
        received = self.socket.recv(1 << 16)
        self._read += received
        return bool(received)

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            assert self._more(), "the answer is cut off"
        body, self._read = self._read[:size], self._read[size:]
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._read:
                assert self._more(), "the answer is cut off"
            line, self._read = self._read.split(b"\r\n", 1)
            size = int(line, 16)
            body += self._exactly(size)
            assert self._exactly(2) == b"\r\n"
            if not size:
                return body


class Served:
    """The application and its server, as tests see and control them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.gate = threading.Event()
        self.scopes: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self.port = 0
        self.server: HttpServer
        self._peers: list[Peer] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(SECONDS_MAX)

    def stop(self) -> None:
        """Stop the server and wait until it has."""
        self.call(self._stopping.set)
        self._thread.join(SECONDS_MAX)
        assert not self._thread.is_alive()

    def stop_slowly(self) -> None:
        """Have the server stop."""
        self.call(self._stopping.set)

    def stopped(self) -> bool:
        return not self._thread.is_alive()

    def idle(self) -> bool:
        """Whether the application is at work for nobody."""
        return not self.server._tasks

    def call(self, function: Callable[[], object]) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(function)

    def peer(self, *, receive_bytes: int | None = None) -> Peer:
        peer = Peer(self.port, receive_bytes=receive_bytes)
        self._peers.append(peer)
        return peer

    def close_peers(self) -> None:
        for peer in self._peers:
            peer.socket.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = listener.getsockname()[1]
        self.server = HttpServer(self._app, self.limits, refusals(""))
        await self.server.listen([listener])
        self._ready.set()
        await self._stopping.wait()
        await self.server.stop()

    async def _app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        name, _, argument = scope["path"][1:].partition("/")
        await getattr(self, f"_{name}")(argument, receive, send)

    async def _echo(self, _argument: str, receive: Any, send: Any) -> None:
        """Answer with the body, once it is there; its end is noted."""
        body = await self._body(receive)
        await _answer(send, 200, body)

    async def _gated(self, _argument: str, _receive: Any, send: Any) -> None:
        """Answer when the test says so."""
        await self._loop.run_in_executor(None, self.gate.wait, SECONDS_MAX)
        await _answer(send, 200, b"late")

    async def _early(self, _argument: str, _receive: Any, send: Any) -> None:
        """Answer without reading the body."""
        await _answer(send, 403, b"no")

    async def _bytes(self, argument: str, _receive: Any, send: Any) -> None:
        await _answer(send, 200, b"x" * int(argument))

    async def _stream(self, argument: str, _receive: Any, send: Any) -> None:
        """Answer in parts of a mebibyte, each sent when the one before it is taken."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(int(argument)):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
            self.messages.append("part")
        await send({"type": "http.response.body", "body": b""})

    async def _until_gone(self, _argument: str, receive: Any, send: Any) -> None:
        """Begin an answer, and leave it when the peer goes."""
        await self._body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await self._body(receive)

    async def _ended_meanwhile(self, _argument: str, receive: Any, send: Any) -> None:
        """Answer while another task waits for the peer to go."""
        await self._body(receive)
        waiting = asyncio.create_task(self._body(receive))
        await asyncio.sleep(0)
        await _answer(send, 200, b"whole")
        await waiting

    async def _fault(self, argument: str, _receive: Any, send: Any) -> None:
        if argument == "late":
            headers = [(b"content-length", b"10")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        if argument == "silent":
            return
        if argument == "header":
            headers = [(b"x", b"a\r\nset-cookie: b")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        if argument == "length":
            headers = [(b"content-length", b"10")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"12345"})
        raise ValueError("a fault")

    async def _body(self, receive: Any) -> bytes:
        body = b""
        while True:
            message = await receive()
            self.messages.append(message["type"])
            if message["type"] == "http.disconnect":
                return body + b"!"
            body += bytes(message["body"])
            if not message["more_body"]:
                return body


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


Serve = Callable[..., Served]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start servers, with some of LIMITS replaced."""
    monkeypatch.setattr(http, "_WATCH_SECONDS", 0.05)
    running: list[Served] = []

    def start(**limits: Any) -> Served:
        served = Served(msgspec.structs.replace(LIMITS, **limits))
        running.append(served)
        served.start()
        return served

    yield start
    for served in running:
        served.gate.set()
        served.close_peers()
        served.stop()


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.01)
