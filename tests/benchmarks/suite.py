"""The legs, in the order in which they run."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.benchmarks import by_hand, serving, traffic
from tests.benchmarks.databases import BenchmarkDatabase, Server
from tests.benchmarks.floors import GROWN
from tests.benchmarks.load import LoadGenerator
from tests.benchmarks.processes import cpu_seconds, memory_mb
from tests.benchmarks.results import Family, Leg, Memory, Phase, Results
from tests.benchmarks.serving import Endpoint
from tests.benchmarks.traffic import WORKLOADS, Workload

SINGLE_CONNECTIONS = (1, 16, 64, 256)
TEXTBOOK_CONNECTIONS = (1, 16, 64)
BATCH_CONNECTIONS = {100: 8, 1_000: 4, 10_000: 2}
PACED_CONNECTIONS = 256
READ_CONNECTIONS = 64
LISTED = 20
GROWTH = (0, 1_000_000, GROWN)


class Plan(Struct, frozen=True, kw_only=True):
    """How long and how often: everything ``rounds`` times, each leg for ``seconds`` after ``warmup_seconds``."""

    rounds: int
    seconds: int
    warmup_seconds: float
    workers: int
    textbook_workers: int
    growth: bool


class Suite:
    """Runs the legs on ``server`` and adds what they measure to ``results``."""

    def __init__(self, server: Server, plan: Plan, results: Results, logs: Path, say: Callable[[str], None]) -> None:
        self._server = server
        self._plan = plan
        self._results = results
        self._logs = logs
        self._say = say
        self._round = 0

    def run(self) -> None:
        """Run everything. Raises BooksError when money was lost, LoadError for an unexpected answer."""
        for number in range(1, self._plan.rounds + 1):
            self._round = number
            self._empty_applications()
            for workload in WORKLOADS:
                self._by_hand(workload)
                self._textbook(workload)
                self._service(workload)
        if self._plan.growth:
            self._growth()

    def _empty_applications(self) -> None:
        applications: tuple[tuple[Family, str, int], ...] = (
            ("bare ASGI", "tests.benchmarks.baselines:bare_asgi", 201),
            ("empty handler", "tests.benchmarks.baselines:empty_litestar", 200),
        )
        for family, target, status in applications:
            with serving.application(target, self._logs / "baselines.log", workers=self._plan.workers) as endpoint:
                requests = (
                    traffic.single_requests("uniform", "") if status == 201 else traffic.get_requests(["/accounts"], "")
                )
                self._http(family, endpoint, requests, connections=READ_CONNECTIONS, status=status)

    def _by_hand(self, workload: Workload) -> None:
        with self._server.database(f"hand_{workload}") as database:
            by_hand.install(database)
            database.add(by_hand.transfer(database, workload, clients=4, seconds=1).completed)
            for clients in by_hand.CLIENTS:
                database.settle()
                before = cpu_seconds(self._server.pid)
                sample = by_hand.transfer(database, workload, clients=clients, seconds=self._plan.seconds)
                self._add_hand("SQL by hand", sample, before, clients=clients, workload=workload)
                database.add(sample.completed)

    def _textbook(self, workload: Workload) -> None:
        log = self._logs / "textbook.log"
        target = "tests.benchmarks.textbook:create_app"
        with (
            self._server.database(f"textbook_{workload}") as database,
            serving.application(target, log, workers=self._plan.textbook_workers, url=database.url) as endpoint,
        ):
            requests = traffic.single_requests(workload, "")
            for connections in TEXTBOOK_CONNECTIONS:
                self._post("textbook", endpoint, database, requests, connections=connections, workload=workload)

    def _service(self, workload: Workload) -> None:
        with (
            self._server.database(f"service_{workload}") as database,
            serving.service(database.url, self._logs / "service.log", workers=self._plan.workers) as endpoint,
        ):
            requests = traffic.single_requests(workload, endpoint.token)
            fastest = 0.0
            for connections in SINGLE_CONNECTIONS:
                leg = self._post("single", endpoint, database, requests, connections=connections, workload=workload)
                fastest = max(fastest, leg.per_second)
            self._post(
                "single, paced",
                endpoint,
                database,
                requests,
                connections=PACED_CONNECTIONS,
                workload=workload,
                per_second=fastest / 2,
            )
            for items in BATCH_CONNECTIONS:
                self._batches(endpoint, database, items, workload=workload)
            if workload == "uniform":
                self._reads(endpoint, database)

    def _batches(self, endpoint: Endpoint, database: BenchmarkDatabase, items: int, **fields: Any) -> None:
        workload: Workload = fields["workload"]
        requests = traffic.batch_requests(workload, endpoint.token, items)
        self._post("batch", endpoint, database, requests, connections=BATCH_CONNECTIONS[items], items=items, **fields)

    def _reads(self, endpoint: Endpoint, database: BenchmarkDatabase) -> None:
        accounts = [traffic.account_id(number) for number in range(traffic.ACCOUNTS)]
        transfers = database.fetch_column("SELECT id FROM funds.transfers ORDER BY random() LIMIT 10000")
        reads: tuple[tuple[Family, list[str]], ...] = (
            ("GET account", [f"/accounts/{account}" for account in accounts]),
            ("GET transfer", [f"/transfers/{transfer}" for transfer in transfers]),
            ("list transfers", [f"/transfers?account_id={account}&limit={LISTED}" for account in accounts]),
        )
        for family, paths in reads:
            requests = traffic.get_requests(paths, endpoint.token)
            self._http(family, endpoint, requests, connections=READ_CONNECTIONS, status=200)
        before = cpu_seconds(self._server.pid)
        sample = by_hand.get_account(database, clients=16, seconds=self._plan.seconds)
        self._add_hand("pgbench select", sample, before, clients=16)

    def _growth(self) -> None:
        """Fill databases through the service, watching its memory, then run on each of them in turn."""
        with (
            self._server.database("grown_0") as empty,
            self._server.database("grown_1") as some,
        ):
            self._fill(some, GROWTH[1], watch_memory=True)
            with self._server.database("grown_2", like=some) as many:
                self._fill(many, GROWTH[2] - GROWTH[1])
                for number in range(1, self._plan.rounds + 1):
                    self._round = number
                    for stored, database in zip(GROWTH, (empty, some, many), strict=True):
                        self._grown(database, stored)

    def _fill(self, database: BenchmarkDatabase, transfers: int, *, watch_memory: bool = False) -> None:
        log = self._logs / "service.log"
        with serving.service(database.url, log, workers=self._plan.workers) as endpoint:
            requests = traffic.batch_requests("uniform", endpoint.token, 1_000)
            posted = 0
            with LoadGenerator(endpoint.port, BATCH_CONNECTIONS[1_000], status=201) as generator:
                while posted < transfers:
                    sample = generator.run(islice(requests, 100), 600)
                    posted += sample.completed * 1_000
                    if watch_memory:
                        self._results.memory.append(Memory(posted, memory_mb(endpoint.pid)[0]))
            self._say(f"filled {database.name} with {posted:,} transfers")
            database.add(posted)

    def _grown(self, database: BenchmarkDatabase, stored: int) -> None:
        log = self._logs / "service.log"
        with serving.service(database.url, log, workers=self._plan.workers) as endpoint:
            fields: dict[str, Any] = {"workload": "uniform", "phase": "growth", "stored": stored}
            requests = traffic.single_requests("uniform", endpoint.token)
            self._post("single", endpoint, database, requests, connections=64, **fields)
            self._batches(endpoint, database, 1_000, **fields)

    def _post(
        self,
        family: Family,
        endpoint: Endpoint,
        database: BenchmarkDatabase,
        requests: Iterator[bytes],
        *,
        connections: int,
        workload: Workload,
        phase: Phase = "main",
        stored: int = 0,
        items: int = 1,
        per_second: float | None = None,
    ) -> Leg:
        """Run a leg that posts transfers, and prove that each acknowledged one is in the books."""
        database.settle()
        return self._http(
            family, endpoint, requests, connections=connections, status=201, database=database, workload=workload,
            phase=phase, stored=stored, items=items, offered_per_second=per_second,
        )  # fmt: skip

    def _http(
        self,
        family: Family,
        endpoint: Endpoint,
        requests: Iterator[bytes],
        *,
        connections: int,
        status: int,
        database: BenchmarkDatabase | None = None,
        items: int = 1,
        offered_per_second: float | None = None,
        **fields: Any,
    ) -> Leg:
        with LoadGenerator(endpoint.port, connections, status=status) as generator:
            warm = generator.run(requests, self._plan.warmup_seconds if items < 10_000 else 0.0)
            server_before, postgres_before = cpu_seconds(endpoint.pid), cpu_seconds(self._server.pid)
            sample = (
                generator.run(requests, self._plan.seconds)
                if offered_per_second is None
                else generator.run_paced(requests, self._plan.seconds, per_second=offered_per_second)
            )
            operations = sample.completed * items
            per_thousand = 1000 / operations
            server_cpu = (cpu_seconds(endpoint.pid) - server_before) * per_thousand
            postgres_cpu = (cpu_seconds(self._server.pid) - postgres_before) * per_thousand
        if database is not None:
            database.add(operations + warm.completed * items)
        memory, memory_peak = memory_mb(endpoint.pid)
        leg = Leg(
            family=family,
            round=self._round,
            connections=connections,
            workers=self._plan.textbook_workers if family == "textbook" else self._plan.workers,
            items=items,
            offered_per_second=offered_per_second,
            operations=operations,
            seconds=sample.seconds,
            per_second=operations / sample.seconds,
            p50_ms=sample.percentile_ms(50),
            p99_ms=sample.percentile_ms(99),
            server_cpu=server_cpu,
            postgres_cpu=postgres_cpu,
            client_cpu=sample.cpu_seconds * per_thousand,
            worker_memory_mb=memory,
            worker_memory_peak_mb=memory_peak,
            **fields,
        )
        return self._add(leg)

    def _add_hand(
        self,
        family: Family,
        sample: by_hand.HandSample,
        cpu_before: float,
        *,
        clients: int,
        workload: Workload | None = None,
    ) -> None:
        per_thousand = 1000 / sample.completed
        self._add(
            Leg(
                family=family,
                round=self._round,
                workload=workload,
                connections=clients,
                operations=sample.completed,
                seconds=sample.completed / sample.per_second,
                per_second=sample.per_second,
                mean_ms=sample.mean_latency_ms,
                postgres_cpu=(cpu_seconds(self._server.pid) - cpu_before) * per_thousand,
                client_cpu=sample.client_cpu_seconds * per_thousand,
            )
        )

    def _add(self, leg: Leg) -> Leg:
        self._results.legs.append(leg)
        about = [leg.family, leg.workload, f"items {leg.items}" if leg.items > 1 else None, f"at {leg.connections}"]
        self._say(f"{' '.join(filter(None, about)):40} {leg.per_second:9,.0f}/s")
        return leg
