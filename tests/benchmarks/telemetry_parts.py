"""What telling of a request costs by itself: microseconds of CPU, without sockets and a database.

``comparing`` measures two whole services, whose batches differ from turn to turn by more than what is told of requests
costs. Here is nothing but the layer around the application, so that it can be seen; the lines go to a file.
"""

import asyncio
import logging
import time
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from service.server.exchange import WHOLE_ANSWER
from service.telemetry.http_metrics import HttpMetrics
from service.telemetry.logs import configure_logging
from service.telemetry.records import RECORD
from service.telemetry.request_lines import RequestLines
from service.telemetry.requests import App, RequestTelemetry

_ROUNDS = 9
_REQUESTS, _IN_A_TURN = 10_000, 16
_ROUTE = "/v1/ledgers/{ledger}/transfers"
_HEADERS = [
    (b"host", b"127.0.0.1"),
    (b"authorization", b"Bearer " + b"t" * 40),
    (b"content-type", b"application/json"),
    (b"content-length", b"150"),
    (b"idempotency-key", b"0123456789abcdef0123456789abcdef"),
]
_BODY = b"x" * 700


async def _answered(scope: Any, _receive: Any, _send: Any) -> None:
    """Answer at once, as a route that knows what is told of its requests."""
    record = scope.get(RECORD)
    if record is not None:
        record.route, record.client = _ROUTE, "benchmark"
    scope["extensions"][WHOLE_ANSWER](201, [(b"content-type", b"application/json")], _BODY)


def _take(_status: int, headers: Any, _body: bytes) -> None:
    list(headers)


async def _cpu_us(app: App) -> float:
    """Return the microseconds of CPU of one request of many; some share a turn of the event loop, as under load."""
    began = time.thread_time()
    for number in range(_REQUESTS):
        extensions = {WHOLE_ANSWER: _take}
        await app({"type": "http", "method": "POST", "headers": _HEADERS, "extensions": extensions}, None, None)
        if number % _IN_A_TURN == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    return (time.thread_time() - began) / _REQUESTS * 1e6


async def _measure() -> dict[str, float]:
    metrics = HttpMetrics([_ROUTE], [201], [])
    told = {name: RequestTelemetry(RequestLines() if "lines" in name else None) for name in ("id", "lines", "metrics")}
    told["metrics"].metrics = metrics
    apps: dict[str, App] = {"nothing": _answered} | {name: one.around(_answered) for name, one in told.items()}
    taken: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(_ROUNDS):
        for name, app in apps.items():
            taken[name].append(await _cpu_us(app))
    least = median(taken.pop("nothing"))
    return {name: median(ones) - least for name, ones in taken.items()}


def run(log: Path, *, transfer_cpu_us: float) -> None:
    """Print what each part costs a request, beside ``transfer_cpu_us`` of a transfer. The lines go to ``log``."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    with log.open("w") as stream:
        configure_logging("info", stream)
        parts = uvloop.run(_measure())
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    for name, cpu_us in (
        ("id", parts["id"]),
        ("lines", parts["lines"] - parts["id"]),
        ("metrics", parts["metrics"] - parts["id"]),
    ):
        share = 100 * cpu_us / transfer_cpu_us
        print(f"{name:>10}: {cpu_us:.1f} µs of CPU a request, {share:.1f} % of a transfer's", flush=True)  # noqa: T201
