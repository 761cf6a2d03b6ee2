"""The HTTP servers of a benchmark, each a process of its own: the service, and the applications it is held against.

The latter run as ``python -m tests.benchmarks.serving TARGET PORT WORKERS`` behind the service's own HTTP server.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import uvloop
from litestar import Litestar
from msgspec import Struct

from service.api.http.problems import refusals
from service.server.http import BACKLOG, HttpServer
from service.server.limits import Limits
from service.server.workers import Workers
from tests.support.servers import ROOT, RunningService, free_port, random_token

DATABASE_URL = "BENCHMARK_DATABASE_URL"

_START_SECONDS_MAX = 30.0
_STOP_SECONDS_MAX = 30.0


class Endpoint(Struct, frozen=True):
    """A server on 127.0.0.1 at ``port``, perhaps not ready yet; ``pid`` is its main process."""

    port: int
    pid: int
    workers: int
    wait_until_ready: Callable[[], None]
    token: str = ""


@contextmanager
def service(
    url: str, log: Path, *, workers: int, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Endpoint]:
    """Start the service on the database at ``url``, with ``settings`` beside those of a benchmark, and stop it at the
    end.
    """
    token = random_token()
    environment = {
        "FUNDS_DATABASE_URL": url,
        "FUNDS_ADMIN_TOKEN": token,
        "FUNDS_PORT": str(free_port()),
        "FUNDS_WORKERS": str(workers),
        "FUNDS_LOG_LEVEL": "warning",
        **settings,
    }
    running = RunningService(environment, log, "--no-migrate")
    try:
        yield Endpoint(running.port, running.process.pid, workers, running.wait_until_ready, token)
    finally:
        running.stop()


@contextmanager
def application(target: str, log: Path, *, workers: int, url: str = "") -> Iterator[Endpoint]:
    """Start the ASGI application ``target`` (``module:name``), which finds ``url`` in the environment; stop it at the
    end.
    """
    port = free_port()
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, target, str(port), str(workers)],
            cwd=ROOT,
            env=os.environ | {DATABASE_URL: url},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_until_ready() -> None:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/", timeout=2)
            except httpx.TransportError:
                assert process.poll() is None, f"{target} ended:\n{log.read_text()}"
                assert time.monotonic() < deadline, f"{target} does not answer:\n{log.read_text()}"
                time.sleep(0.05)
            else:
                return

    try:
        yield Endpoint(port, process.pid, workers, wait_until_ready)
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS_MAX)


def serve(target: str, port: int, workers: int) -> None:
    """Serve ``target`` as ``funds serve`` serves the service."""
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    processes = Workers(run_worker, (target, listener), count=workers)
    signal.signal(signal.SIGTERM, lambda *_: processes.stop())
    processes.run(drain_delay_seconds=0, close_listeners=listener.close, stop_seconds_max=_STOP_SECONDS_MAX)


def run_worker(target: str, listener: socket.socket, _number: int) -> None:
    """Serve ``target`` on ``listener`` in this process, until SIGTERM."""
    module, _, name = target.partition(":")
    made = getattr(import_module(module), name)
    uvloop.run(_serve(made if name == "bare_asgi" else made(), listener))


async def _serve(app: Any, listener: socket.socket) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with app.lifespan() if isinstance(app, Litestar) else nullcontext():
        server = HttpServer(app, Limits(), refusals(""))
        await server.listen([listener])
        await stopping.wait()
        await server.stop()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
