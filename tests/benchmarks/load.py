"""The load generator: keep-alive HTTP/1.1 over raw sockets, one process, one epoll loop.

It shares two cores with what it measures, so it does little: requests come as finished bytes, of an answer it reads
the status and the length. README.md says what that costs and how it compares with wrk.
"""

import gc
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from msgspec import Struct

_RECEIVE_BYTES_MAX = 1 << 16  # more would be mapped and unmapped by the allocator each time, at 15 µs
_SILENCE_SECONDS_MAX = 30.0
_clock = time.perf_counter


class LoadError(Exception):
    """An answer was not the expected one, or did not come."""


class Sample(Struct, frozen=True):
    """What one run measured. ``latencies`` are in seconds, sorted."""

    seconds: float
    latencies: list[float]
    cpu_seconds: float

    @property
    def completed(self) -> int:
        """The number of requests answered."""
        return len(self.latencies)

    def percentile_ms(self, percent: float) -> float:
        """Return the latency in milliseconds that ``percent`` of the requests did not exceed."""
        return self.latencies[min(self.completed - 1, int(self.completed * percent / 100))] * 1000


class _Connection:
    __slots__ = ("remaining", "socket", "started")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))  # without a timeout, which costs a poll each time
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.started = 0.0
        self.remaining = 0  # bytes of the answer's body that have not arrived


class LoadGenerator:
    """Connections to 127.0.0.1, each with one request in flight at most; ``run`` as often as wanted, then close."""

    def __init__(self, port: int, connections: int, *, status: int) -> None:
        self._status = str(status).encode()
        self._connections = {}
        self._epoll = select.epoll()
        for _ in range(connections):
            connection = _Connection(port)
            self._connections[connection.socket.fileno()] = connection
            self._epoll.register(connection.socket, select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()
        for connection in self._connections.values():
            connection.socket.close()

    def run(self, requests: Iterator[bytes], seconds: float) -> Sample:
        """Keep every connection busy for ``seconds``, then wait for the answers still due (closed loop).

        Ends early when ``requests`` does.
        """
        latencies: list[float] = []
        with _undisturbed():
            cpu_before = time.process_time()
            begin = now = _clock()
            end = begin + seconds
            busy = 0
            for connection, request in zip(self._connections.values(), requests, strict=False):
                connection.started = _clock()
                connection.socket.sendall(request)
                busy += 1
            while busy:
                for connection in self._answered(_SILENCE_SECONDS_MAX):
                    now = _clock()
                    latencies.append(now - connection.started)
                    request = next(requests, b"") if now < end else b""
                    if request:
                        connection.started = now
                        connection.socket.sendall(request)
                    else:
                        busy -= 1
            cpu = time.process_time() - cpu_before
        return Sample(now - begin, sorted(latencies), cpu)

    def run_paced(self, requests: Iterator[bytes], seconds: float, *, per_second: float) -> Sample:
        """Send ``per_second`` requests on average at random moments (Poisson), answered or not (open loop).

        A latency counts from the moment its request was due, so waiting for a free connection is part of it.
        """
        latencies: list[float] = []
        draw = random.Random(per_second).expovariate
        idle = list(self._connections.values())
        overdue: deque[float] = deque()
        with _undisturbed():
            cpu_before = time.process_time()
            begin = now = _clock()
            end = begin + seconds
            due = begin + draw(per_second)
            while due < end or overdue or len(idle) < len(self._connections):
                now = _clock()
                while due <= now and due < end:
                    overdue.append(due)
                    due += draw(per_second)
                while overdue and idle:
                    connection = idle.pop()
                    connection.started = overdue.popleft()
                    connection.socket.sendall(next(requests))
                if due < end:
                    # epoll's own timeout is rounded to milliseconds; an epoll is itself a file to wait for.
                    select.select([self._epoll], [], [], max(0.0, due - _clock()))
                for connection in self._answered(0 if due < end else _SILENCE_SECONDS_MAX):
                    latencies.append(_clock() - connection.started)
                    idle.append(connection)
            cpu = time.process_time() - cpu_before
        return Sample(_clock() - begin, sorted(latencies), cpu)

    def _answered(self, seconds_max: float) -> Iterator[_Connection]:
        """Wait, and yield the connections whose answers have arrived whole."""
        ready = self._epoll.poll(seconds_max)
        if seconds_max and not ready:
            raise LoadError(f"no answer for {seconds_max:.0f} s")
        for descriptor, _ in ready:
            connection = self._connections[descriptor]
            received = connection.socket.recv(_RECEIVE_BYTES_MAX)
            if not received:
                raise LoadError("the server closed a connection")
            if connection.remaining:
                connection.remaining -= len(received)
            else:
                connection.remaining = self._remaining(connection, received)
            if not connection.remaining:
                yield connection

    def _remaining(self, connection: _Connection, received: bytes) -> int:
        """Return how much of the body is missing after ``received``, the first bytes of an answer."""
        while (head_end := received.find(b"\r\n\r\n")) < 0:
            received += connection.socket.recv(_RECEIVE_BYTES_MAX)
        if received[9:12] != self._status:
            raise LoadError(f"unexpected answer: {received[:2000].decode(errors='replace')}")
        head = received[:head_end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            raise LoadError("an answer without a length")
        length = int(head[at + 17 :].partition(b"\r\n")[0])
        return length - (len(received) - head_end - 4)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the garbage collector: nothing here makes cycles, and its pauses would count as latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
