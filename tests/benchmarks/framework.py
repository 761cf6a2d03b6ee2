"""What Litestar and each part of ours cost a request: ``python -m tests.benchmarks framework``.

Applications are called as a server calls them, without sockets, in one process: CPU microseconds a request, and how
many times an empty handler's. Rounds take turns and a ratio is the median of the rounds' ratios, so that what else runs
on the machine weighs on all alike.
"""

import gc
import time
from statistics import median
from typing import Any

import uvloop

from service.server.exchange import WHOLE_ANSWER
from service.telemetry.records import RECORD, RequestRecord
from tests.benchmarks.framework_parts import Leg, legs


class _Answer:
    """Takes an answer as the server does: whole where the application knows that extension, or in messages."""

    def __init__(self) -> None:
        self.status = 0

    def whole(self, status: int, headers: list[tuple[bytes, bytes]], _body: bytes) -> None:
        """Take a whole answer."""
        list(headers)
        self.status = status

    async def send(self, message: dict[str, Any]) -> None:
        """Take a part of an answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]


async def call(leg: Leg, requests: int) -> float:
    """Send ``leg`` its request ``requests`` times; return the CPU microseconds of one."""
    answer = _Answer()
    raw_path = leg.path.encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": leg.body, "more_body": False}

    record = RequestRecord(leg.method, list(leg.headers))
    gc.collect()
    before = time.process_time()
    for _ in range(requests):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": leg.method,
            "path": leg.path,
            "raw_path": raw_path,
            "query_string": b"",
            "headers": list(leg.headers),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "extensions": {WHOLE_ANSWER: answer.whole},
            RECORD: record,  # for legs without the layer that makes it
        }
        await leg.app(scope, receive, answer.send)
    used = time.process_time() - before
    assert answer.status == leg.status, f"{leg.name} answered {answer.status}"
    return used / requests * 1e6


async def measure(rounds: int, requests: int) -> None:
    """Run every leg ``rounds`` times, taking turns, and print the table."""
    chosen = list(legs())
    for leg in chosen:
        await call(leg, 100)
    gc.freeze()
    used: dict[str, list[float]] = {leg.name: [] for leg in chosen}
    for _ in range(rounds):
        for leg in chosen:
            used[leg.name].append(await call(leg, requests))
    empty = used[chosen[0].name]
    print(f"{'':40} {'µs':>7} {'x empty handler':>16}")  # noqa: T201
    for name, taken in used.items():
        ratio = median(one / base for one, base in zip(taken, empty, strict=True))
        print(f"{name:40} {median(taken):7.1f} {ratio:16.2f}")  # noqa: T201


def run(*, rounds: int = 15, requests: int = 1_000) -> None:
    """Measure on the event loop that the service runs on."""
    uvloop.run(measure(rounds, requests))
