"""The HTTP servers of a benchmark, each a process of its own: the service, and the applications it is held against.

The latter run as ``python -m tests.benchmarks.serving TARGET PORT WORKERS`` behind granian with the service's options.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from msgspec import Struct

from tests.servers import ROOT, RunningService, free_port, random_token

DATABASE_URL = "BENCHMARK_DATABASE_URL"

_START_SECONDS_MAX = 30.0
_STOP_SECONDS_MAX = 30.0


class Endpoint(Struct, frozen=True):
    """A server that answers on 127.0.0.1 at ``port``; ``pid`` is its main process."""

    port: int
    pid: int
    workers: int
    token: str = ""


@contextmanager
def service(url: str, log: Path, *, workers: int) -> Iterator[Endpoint]:
    """Run the service on the database at ``url``."""
    token = random_token()
    environment = {
        "FUNDS_DATABASE_URL": url,
        "FUNDS_ADMIN_TOKEN": token,
        "FUNDS_PORT": str(free_port()),
        "FUNDS_WORKERS": str(workers),
        "FUNDS_LOG_LEVEL": "warning",
    }
    running = RunningService(environment, log, "--no-migrate")
    try:
        running.wait_until_ready()
        yield Endpoint(running.port, running.process.pid, workers, token)
    finally:
        running.stop()


@contextmanager
def application(target: str, log: Path, *, workers: int, url: str = "") -> Iterator[Endpoint]:
    """Run the ASGI application ``target`` (``module:name``), which finds ``url`` in the environment."""
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
    try:
        _wait_until_answering(port, process, log)
        yield Endpoint(port, process.pid, workers)
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS_MAX)


def _wait_until_answering(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS_MAX
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=2)
        except httpx.TransportError:
            assert process.poll() is None, f"the server ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{log.read_text()}"
            time.sleep(0.05)
        else:
            return


def serve(target: str, port: int, workers: int) -> None:
    """Serve ``target`` as ``funds serve`` serves the service."""
    name = target.partition(":")[2]
    Server(
        target=target,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        log_level=LogLevels.warning,
        factory=name != "bare_asgi",
    ).serve()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
