"""The speed that is promised, computed from a run's legs."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from msgspec import Struct, structs

from tests.benchmarks.results import Family, Memory, Results, best, middle, ratio
from tests.benchmarks.traffic import LEDGERS, Audit, Workload

MEMORY_MB_MAX = 250.0
FLAT_MB_MAX = 10.0
GROWN = 10_000_000


class Floor(Struct, frozen=True, kw_only=True):
    """A promise: ``measured`` against ``floor`` (what must be) and ``aim`` (what should be); None is not measured."""

    name: str
    unit: str
    measured: float | None
    floor: float
    aim: float | None = None
    less_is_better: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the promise with its verdict."""
        return structs.asdict(self) | {"verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """Say whether the promise is kept."""
        if self.measured is None:
            return "not measured"
        if self._reaches(self.floor):
            return "aim reached" if self.aim is not None and self._reaches(self.aim) else "pass"
        return "FAIL"

    def _reaches(self, goal: float) -> bool:
        assert self.measured is not None, "asked of what was measured"
        return self.measured <= goal if self.less_is_better else self.measured >= goal


def floors(results: Results) -> list[Floor]:
    """Return every promise with what was measured."""
    return [
        *_throughput(results),
        *_latency(results),
        *_workers(results),
        *_growth(results),
        *_audits(results),
        *_reads(results),
        *_memory(results),
    ]


def _throughput(results: Results) -> Iterator[Floor]:
    goals: tuple[tuple[Workload, float, float, float, float, float], ...] = (
        ("uniform", 1.0, 1.5, 8.0, 3.0, 5.0),
        ("hot", 3.0, 5.0, 15.0, 8.0, 15.0),
    )
    for workload, by_hand, by_hand_aim, textbook, batch, batch_aim in goals:
        single = best(results.of("single", workload=workload))
        hand = best(results.of("SQL by hand", workload=workload))
        yield Floor(
            name=f"single, {workload}, best concurrency",
            unit="x SQL by hand",
            measured=ratio(single, hand, lambda leg: leg.per_second),
            floor=by_hand,
            aim=by_hand_aim,
        )
        yield Floor(
            name=f"single, {workload}, best concurrency",
            unit="x textbook",
            measured=ratio(single, best(results.of("textbook", workload=workload)), lambda leg: leg.per_second),
            floor=textbook,
        )
        yield Floor(
            name=f"batch of 1,000, {workload}",
            unit="x SQL by hand",
            measured=ratio(best(results.of("batch", workload=workload, items=1000)), hand, lambda leg: leg.per_second),
            floor=batch,
            aim=batch_aim,
        )


def _latency(results: Results) -> Iterator[Floor]:
    workloads: tuple[Workload, ...] = ("uniform", "hot")
    for workload in workloads:
        yield Floor(
            name=f"p99 of single, {workload}, at half of its best throughput",
            unit="ms",
            measured=middle(results.of("single, paced", workload=workload), lambda leg: leg.p99_ms),
            floor=40.0,
            aim=15.0,
            less_is_better=True,
        )
    yield Floor(
        name="p50 of single at one connection, uniform",
        unit="x textbook",
        measured=ratio(
            results.of("single", workload="uniform", connections=1),
            results.of("textbook", workload="uniform", connections=1),
            lambda leg: leg.p50_ms,
        ),
        floor=1.5,
        aim=1.0,
        less_is_better=True,
    )


def _workers(results: Results) -> Iterator[Floor]:
    """A second process may not slow down the ledgers that both write to (``traffic.LEDGERS``, or one)."""
    cases: tuple[tuple[Workload, int], ...] = (("uniform", 1), ("hot", 1), ("uniform", LEDGERS))
    families: tuple[tuple[Family, int], ...] = (("single", 1), ("batch", 1000))
    for workload, ledgers in cases:
        for family, items in families:
            two, one = (
                results.of(family, workload=workload, ledgers=ledgers, items=items, phase="workers", workers=workers)
                for workers in (2, 1)
            )
            yield Floor(
                name=f"{family}, {workload}, two workers" + (f" on {ledgers} ledgers" if ledgers > 1 else ""),
                unit="x one worker",
                measured=ratio(best(two), best(one), lambda leg: leg.per_second),
                floor=0.9,
            )


def _growth(results: Results) -> Iterator[Floor]:
    families: tuple[tuple[Family, int], ...] = (("single", 1), ("batch", 1000))
    for family, items in families:
        grown, empty = (
            results.of(family, workload="uniform", items=items, phase="growth", stored=stored) for stored in (GROWN, 0)
        )
        yield Floor(
            name=f"{family}, uniform, with {GROWN // 1_000_000} million transfers stored",
            unit="x empty",
            measured=ratio(best(grown), best(empty), lambda leg: leg.per_second),
            floor=0.85,
            aim=1.0,
        )


def _audits(results: Results) -> Iterator[Floor]:
    """What auditors ask may not grow with what is stored."""
    flat: tuple[Audit, ...] = ("balance now", "past balance", "past balance by value date", "statement page")
    most = max((leg.stored for leg in results.legs), default=0) or GROWN
    for family in flat:
        grown, empty = (results.of(family, phase="growth", stored=stored) for stored in (most, 0))
        yield Floor(
            name=f"{family}, with {most // 1_000_000} million transfers stored",
            unit="x empty",
            measured=ratio(grown, empty, lambda leg: leg.per_second),
            floor=0.85,
            aim=1.0,
        )


def _reads(results: Results) -> Iterator[Floor]:
    yield Floor(
        name="GET account",
        unit="x empty handler",
        measured=ratio(results.of("GET account"), results.of("empty handler"), lambda leg: leg.per_second),
        floor=0.5,
        aim=0.8,
    )


def _memory(results: Results) -> Iterator[Floor]:
    peaks = [
        leg.worker_memory_peak_mb for leg in results.legs if leg.family != "textbook" and leg.worker_memory_peak_mb
    ]
    yield Floor(
        name="resident memory per worker, highest under any leg",
        unit="MB",
        measured=max(peaks, default=None),
        floor=MEMORY_MB_MAX,
        less_is_better=True,
    )
    yield Floor(
        name="growth of resident memory over a million transfers",
        unit="MB",
        measured=_growth_a_million(results.memory),
        floor=FLAT_MB_MAX,
        less_is_better=True,
    )


def _growth_a_million(memory: Sequence[Memory]) -> float | None:
    """Return the MB by which a worker grows in a million transfers, once it has what it needs: the median of the last
    third of the looks less that of the middle third, by the transfers between them. None without looks enough.
    """
    third = len(memory) // 3
    if not third:
        return None
    middle, last = memory[third : 2 * third], memory[-third:]
    grown = median(look.worker_memory_mb for look in last) - median(look.worker_memory_mb for look in middle)
    between = median(look.transfers for look in last) - median(look.transfers for look in middle)
    return grown / between * 1e6
