"""HAProxy in front of two instances of the service, as ``deploy/haproxy.cfg`` has it."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.support.servers import ROOT, free_port

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
DRAIN_DELAY_SECONDS = "3"
"""What the proxy needs to notice that an instance stops; see deploy/haproxy.cfg."""
RISE_SECONDS = 3.0
"""What it needs to notice that one is back: two checks, a second apart."""


class Ports(NamedTuple):
    """Where an instance serves, and where it is asked whether it is ready."""

    service: int
    operations: int

    @classmethod
    def free(cls) -> "Ports":
        return cls(free_port(), free_port())

    @property
    def settings(self) -> dict[str, str]:
        """What an instance needs to know."""
        return {
            "FUNDS_PORT": str(self.service),
            "FUNDS_OPERATIONS_PORT": str(self.operations),
            "FUNDS_DRAIN_DELAY_SECONDS": DRAIN_DELAY_SECONDS,
        }


@contextmanager
def haproxy(log: Path, instances: Mapping[str, Ports]) -> Iterator[str]:
    """Run the proxy in front of instances ``a`` and ``b``; yields its URL."""
    port = free_port()
    environment = {"FUNDS_PROXY_BIND": f"127.0.0.1:{port}"}
    for name, ports in instances.items():
        environment[f"FUNDS_{name.upper()}"] = f"127.0.0.1:{ports.service}"
        environment[f"FUNDS_{name.upper()}_CHECK_PORT"] = str(ports.operations)
    command = [str(HAPROXY), "-db", "-f", str(ROOT / "deploy" / "haproxy.cfg")]
    with log.open("w") as output:
        proxy = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        proxy.terminate()
        proxy.wait(30)


async def wait_for_instance(url: str) -> None:
    """Wait until the proxy at ``url`` has an instance."""
    for _ in range(100):
        async with httpx.AsyncClient() as http:
            try:
                if (await http.get(f"{url}/health/live")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
        await asyncio.sleep(0.1)
    raise AssertionError("the proxy does not answer")
