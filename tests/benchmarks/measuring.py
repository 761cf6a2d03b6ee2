"""One leg: the load on one side, what it costs on the other, and the check of the ledger after it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.benchmarks import by_hand
from tests.benchmarks.databases import BenchmarkDatabase, Server
from tests.benchmarks.load import LoadGenerator
from tests.benchmarks.results import Family, Leg
from tests.benchmarks.serving import Endpoint
from tests.benchmarks.traffic import Workload
from tests.support.process_costs import busy_seconds, cpu_seconds, memory_mb


class Meter:
    """CPU seconds from now on: of a server (process id, None without one), of PostgreSQL, of the whole machine."""

    def __init__(self, server: int | None, postgres: int) -> None:
        self._server = server
        self._postgres = postgres
        self._before = self._read()

    def costs(self, client_cpu_seconds: float, operations: int) -> dict[str, Any]:
        """Return the fields of a leg that say what ``operations`` have cost since the start."""
        now = self._read()
        seconds, server, postgres, machine = (after - before for after, before in zip(now, self._before, strict=True))
        return {
            "server_cpu": server / operations * 1000 if self._server is not None else None,
            "postgres_cpu": postgres / operations * 1000,
            "client_cpu": client_cpu_seconds / operations * 1000,
            "other_cores": max(0.0, machine - server - postgres - client_cpu_seconds) / seconds,
        }

    def _read(self) -> tuple[float, float, float, float]:
        server = 0.0 if self._server is None else cpu_seconds(self._server)
        return time.monotonic(), server, cpu_seconds(self._postgres), busy_seconds()


class Measurer:
    """Runs legs with PostgreSQL ``server`` and hands each finished one to ``record``.

    No checkpoint is asked for before a leg: the first change of every page after one writes the whole page to the log,
    which in a leg of seconds would weigh far more than in the quarter of an hour between two checkpoints.
    """

    def __init__(
        self,
        server: Server,
        *,
        seconds: float,
        hand_seconds: int,
        warmup_seconds: float,
        record: Callable[[Leg], None],
    ) -> None:
        self._server = server
        self._seconds = seconds
        self._hand_seconds = hand_seconds
        self._warmup_seconds = warmup_seconds
        self._record = record

    def http(
        self,
        family: Family,
        endpoint: Endpoint,
        requests: Iterator[bytes],
        *,
        connections: int,
        status: int = 200,
        database: BenchmarkDatabase | None = None,
        items: int = 1,
        offered_per_second: float | None = None,
        **fields: Any,
    ) -> Leg:
        """Send ``requests``, answered with ``status``; with ``database`` each posts ``items`` transfers there.

        Raises LedgerError when what was acknowledged is not in the ledger, LoadError for an unexpected answer.
        """
        with LoadGenerator(endpoint.port, connections, status=status) as generator:
            warm = generator.run(requests, self._warmup_seconds)
            meter = Meter(endpoint.pid, self._server.pid)
            if offered_per_second is None:
                sample = generator.run(requests, self._seconds)
            else:
                sample = generator.run_paced(requests, 2 * self._seconds, per_second=offered_per_second)
            operations = sample.completed * items
            costs = meter.costs(sample.cpu_seconds, operations)
        if database is not None:
            database.add(operations + warm.completed * items)
        memory, memory_peak = memory_mb(endpoint.pid)
        leg = Leg(
            family=family,
            connections=connections,
            workers=endpoint.workers,
            items=items,
            offered_per_second=offered_per_second,
            operations=operations,
            seconds=sample.seconds,
            per_second=operations / sample.seconds,
            p50_ms=sample.percentile_ms(50),
            p99_ms=sample.percentile_ms(99),
            worker_memory_mb=memory,
            worker_memory_peak_mb=memory_peak,
            **costs,
            **fields,
        )
        self._record(leg)
        return leg

    def by_hand(self, database: BenchmarkDatabase, *, clients: int, workload: Workload, number: int) -> None:
        """Post transfers by pgbench. Raises LedgerError as ``http`` does."""
        self._pgbench("SQL by hand", database, by_hand.transfers(workload), clients, workload=workload, round=number)

    def select_by_hand(self, database: BenchmarkDatabase, *, clients: int, number: int) -> None:
        """Read accounts by pgbench."""
        self._pgbench("pgbench select", database, by_hand.GET_ACCOUNT, clients, round=number)

    def _pgbench(self, family: Family, database: BenchmarkDatabase, script: str, clients: int, **fields: Any) -> None:
        meter = Meter(None, self._server.pid)
        sample = by_hand.pgbench(database, script, clients=clients, seconds=self._hand_seconds)
        costs = meter.costs(sample.client_cpu_seconds, sample.completed)
        if family == "SQL by hand":
            database.add(sample.completed)
        self._record(
            Leg(
                family=family,
                connections=clients,
                operations=sample.completed,
                seconds=sample.completed / sample.per_second,
                per_second=sample.per_second,
                mean_ms=sample.mean_latency_ms,
                **costs,
                **fields,
            )
        )
