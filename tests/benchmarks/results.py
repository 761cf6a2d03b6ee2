"""What a benchmark found: legs as they were measured, and the questions that the report asks of them."""

import json
import os
import platform
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

import msgspec
from msgspec import Struct

from tests.benchmarks.traffic import Audit, Workload

Family = Literal[
    "bare ASGI", "empty handler", "SQL by hand", "textbook", "single", "single, paced", "batch", "GET account",
    "GET transfer", "list transfers", "pgbench select", Audit,
]  # fmt: skip

CEILINGS: tuple[Family, ...] = ("bare ASGI", "empty handler")
Phase = Literal["main", "workers", "growth"]


def machine() -> dict[str, str]:
    """Describe the machine, as far as it tells."""
    processors = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": f"{os.cpu_count()} x {processors[0] if processors else platform.machine()}",
        "memory": f"{memory / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


class Leg(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measurement. An operation is a transfer, or a request where none is made.

    ``ledgers`` is how many took turns, ``items`` the size of a batch, ``stored`` how many transfers were there before
    the leg (rounded to what was asked for), ``offered_per_second`` the rate of an open loop. CPU is in seconds per
    1,000 operations; ``other_cores`` is how many cores were busy with anything else. Memory is that of the largest
    worker in MB, after the leg and at its peak since the start of the server.
    """

    family: Family
    phase: Phase = "main"
    round: int
    workload: Workload | None = None
    connections: int
    workers: int | None = None
    ledgers: int = 1
    items: int = 1
    stored: int = 0
    offered_per_second: float | None = None
    operations: int
    seconds: float
    per_second: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    server_cpu: float | None = None
    postgres_cpu: float | None = None
    client_cpu: float | None = None
    other_cores: float = 0.0
    worker_memory_mb: float | None = None
    worker_memory_peak_mb: float | None = None


class Memory(Struct, frozen=True):
    """Resident memory of the largest worker after ``transfers`` transfers through one service."""

    transfers: int
    worker_memory_mb: float


class Results(Struct, kw_only=True):
    """One run of the benchmark."""

    mode: str
    started_at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    minutes: float = 0.0
    load_generator: str = "tests/benchmarks/load.py (raw sockets, one process)"
    machine: dict[str, str] = msgspec.field(default_factory=machine)
    postgres: dict[str, str]
    legs: list[Leg] = []
    memory: list[Memory] = []

    def of(self, family: Family, **fields: object) -> list[Leg]:
        """Return the legs of ``family`` whose fields have the given values; of the main phase unless told."""
        wanted = {"phase": "main", **fields}
        return [
            leg
            for leg in self.legs
            if leg.family == family and all(getattr(leg, name) == value for name, value in wanted.items())
        ]

    def write(self, path: Path, **computed: object) -> None:
        """Write everything as JSON, and beside it what was ``computed`` from it."""
        content = msgspec.to_builtins(self) | msgspec.to_builtins(computed)
        path.write_text(json.dumps(_rounded(content), indent=1) + "\n")


def read(path: Path) -> Results:
    """Return the results of a file that ``Results.write`` made."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def _rounded(value: Any) -> Any:
    """Return ``value`` with its floats to four digits after the point: more is noise."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(member) for name, member in value.items()}
    return [_rounded(member) for member in value] if isinstance(value, list) else value


def best(legs: Iterable[Leg]) -> list[Leg]:
    """Return the fastest leg of each round."""
    rounds: dict[int, Leg] = {}
    for leg in legs:
        if leg.round not in rounds or rounds[leg.round].per_second < leg.per_second:
            rounds[leg.round] = leg
    return list(rounds.values())


def middle(legs: Iterable[Leg], value: Callable[[Leg], float | None]) -> float | None:
    """Return the median of ``value`` over ``legs``; None when there is none."""
    values = [number for leg in legs if (number := value(leg)) is not None]
    return median(values) if values else None


def ratio(ours: Iterable[Leg], baseline: Iterable[Leg], value: Callable[[Leg], float | None]) -> float | None:
    """Return the median over the rounds of ours divided by the baseline of the same round."""
    bases = {leg.round: value(leg) for leg in baseline}
    quotients = [
        mine / base for leg in ours if (mine := value(leg)) is not None and (base := bases.get(leg.round)) is not None
    ]
    return median(quotients) if quotients else None
