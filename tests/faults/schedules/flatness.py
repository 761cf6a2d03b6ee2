"""Whether a service that runs on and on stays as it was: memory, open files, connections and latency over time."""

import asyncio
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from tests.faults.schedules.load import Load
from tests.faults.schedules.stage import STEADY, Stage, application_name
from tests.support.process_costs import memory_mb, open_files, process_ids

SAMPLE_SECONDS = 5.0
SAMPLES_MIN = 12
"""With fewer, thirds say nothing."""
WARM_UP_SHARE = 0.1
"""What is left out at the beginning: caches fill, plans are made."""


@dataclass(frozen=True)
class Measure:
    """The last third may be ``share`` larger than the first, and ``more`` beside that."""

    counted_in: str
    share: float
    more: float


MEASURES = {
    "memory of the worker": Measure("MB", 0.15, 10),
    "open files": Measure("files", 0.1, 10),
    "connections to PostgreSQL": Measure("connections", 0.1, 4),
    "latency, median": Measure("ms", 1.0, 20),
}
"""What is looked at of the service whose processes nobody kills. Latency is that of all callers, faults included: on a
machine that others use as well it says only that nothing piles up.
"""

Sample = dict[str, float]


class Watch:
    """Samples of the steady service while schedules play."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.samples: list[Sample] = []

    async def look(self, load: Load) -> None:
        """Take a sample; what cannot be seen now, because the database is away, is seen next time."""
        root = self._stage.services[STEADY].process.pid
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            async with asyncio.timeout(SAMPLE_SECONDS), self._stage.superuser() as connection:
                connections = await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", application_name(STEADY)
                )
            latencies, load.latencies = load.latencies, type(load.latencies)(maxlen=load.latencies.maxlen)
            if not latencies:
                return
            self.samples.append(
                {
                    "memory of the worker": memory_mb(root)[0],
                    "open files": sum(map(open_files, process_ids(root))),
                    "connections to PostgreSQL": connections,
                    "latency, median": statistics.median(latencies) * 1000,
                }
            )


def thirds(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """The medians of the first and the last third of ``samples``."""
    values = [sample[name] for sample in samples[int(len(samples) * WARM_UP_SHARE) :]]
    length = len(values) // 3
    return statistics.median(values[:length]), statistics.median(values[-length:])


def grown(samples: Sequence[Sample]) -> list[str]:
    """Return which measures have grown by more than they may."""
    found = []
    for name, measure in MEASURES.items():
        first, last = thirds(samples, name)
        if last > first * (1 + measure.share) + measure.more:
            found.append(f"{name} grew from {first:.1f} to {last:.1f} {measure.counted_in}")
    return found


def table(samples: Sequence[Sample]) -> str:
    """Return the thirds in Markdown."""
    lines = ["| of the steady service | first third | last third | may grow by |", "|---|---|---|---|"]
    for name, measure in MEASURES.items():
        first, last = thirds(samples, name)
        allowed = f"{measure.share:.0%} and {measure.more:g} {measure.counted_in}"
        lines.append(f"| {name} ({measure.counted_in}) | {first:.1f} | {last:.1f} | {allowed} |")
    return "\n".join(lines)
