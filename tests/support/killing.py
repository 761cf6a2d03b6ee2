"""Killing a service as a crash of its machine would: every process at once, with SIGKILL."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.support.servers import RunningService


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` has started and that still run."""
    if Path("/proc/self/stat").exists():
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    status = (entry / "stat").read_text()
                except OSError:
                    continue
                parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    else:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        pairs = (line.split() for line in listing.stdout.splitlines())
        parents = {int(pid_text): int(parent_text) for pid_text, parent_text in pairs}
    return [child for child, parent in parents.items() if parent == pid]


def workers(service: RunningService) -> list[int]:
    """Return the worker processes of ``service``, and nothing else that it has started."""
    found = []
    for pid in children(service.process.pid):
        with suppress(OSError):  # it has just ended
            if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found


def signal_all(service: RunningService, number: signal.Signals, *, main: bool = True) -> None:
    """Send a signal to every worker of ``service``, and to its main process."""
    for pid in ([service.process.pid] if main else []) + children(service.process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_workers(service: RunningService) -> None:
    """Kill everything but the main process, which then starts a new worker."""
    signal_all(service, signal.SIGKILL, main=False)


def kill_everything(service: RunningService) -> None:
    """Kill the main process and its workers; the port is free afterwards."""
    others = children(service.process.pid)
    service.kill()
    for pid in others:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
