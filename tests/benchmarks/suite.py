"""The legs, in the order in which they run."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.benchmarks import by_hand, serving, traffic
from tests.benchmarks.databases import BenchmarkDatabase, Server
from tests.benchmarks.floors import GROWN
from tests.benchmarks.load import LoadGenerator
from tests.benchmarks.measuring import Measurer
from tests.benchmarks.results import Family, Leg, Memory, Results, best
from tests.benchmarks.serving import Endpoint
from tests.benchmarks.traffic import WORKLOADS, Workload
from tests.support.process_costs import memory_mb

SINGLE_CONNECTIONS = (1, 16, 64, 256)
TEXTBOOK_CONNECTIONS = (1, 16, 64)
BATCH_CONNECTIONS = {100: 8, 1_000: 4, 10_000: 2}
PACED_CONNECTIONS = 256
READ_CONNECTIONS = 64
AUDIT_CONNECTIONS = 8
LISTED = 20
GROWTH = (0, 1_000_000, GROWN)
WARMING_UP = 300_000
"""Transfers before growth is measured: a new connection maps every page of PostgreSQL's memory when it first reads it,
and the first change of a page after a checkpoint writes the whole of it. Both pass, and grow with what is stored.
"""

_BARE = "tests.benchmarks.baselines:bare_asgi"
_EMPTY = "tests.benchmarks.baselines:empty_litestar"
_TEXTBOOK = "tests.benchmarks.textbook:create_app"


class Plan(Struct, frozen=True, kw_only=True):
    """How long and how often. Each leg runs for ``seconds`` (pgbench for ``hand_seconds``), ``rounds`` times; unless
    ``thorough`` only what a promise rests on is repeated, at the concurrency that was best.
    """

    rounds: int
    seconds: float
    hand_seconds: int
    warmup_seconds: float
    workers: int
    textbook_workers: int
    thorough: bool
    growth: bool


class Arena(Struct, frozen=True):
    """All that takes part in one workload, ready at the same time, so that the rounds can take turns."""

    workload: Workload
    hand: BenchmarkDatabase
    textbook: BenchmarkDatabase
    textbook_server: Endpoint
    service: BenchmarkDatabase
    service_server: Endpoint


class Suite:
    """Runs the legs on ``server`` and adds what they measure to ``results``."""

    def __init__(self, server: Server, plan: Plan, results: Results, logs: Path, say: Callable[[str], None]) -> None:
        self._server = server
        self._plan = plan
        self._results = results
        self._logs = logs
        self._say = say
        self._number = 0
        self._measure = Measurer(
            server,
            seconds=plan.seconds,
            hand_seconds=plan.hand_seconds,
            warmup_seconds=plan.warmup_seconds,
            record=self._record,
        )

    def run(self) -> None:
        """Run everything. Raises LedgerError when money was lost, LoadError for an unexpected answer."""
        for workload in WORKLOADS:
            with ExitStack() as stack:
                arena = self._arena(workload, stack)
                empty = _started(stack, self._application(_EMPTY)) if workload == "uniform" else []
                promised = workload != "zipfian" or self._plan.thorough
                for number in range(1, (self._plan.rounds if promised else 1) + 1):
                    self._number = number
                    self._by_hand(arena)
                    self._textbook(arena)
                    self._single(arena)
                    self._batches(arena)
                    for endpoint in empty:
                        self._reads(arena, endpoint)
                if self._plan.thorough:
                    arena.service.prove()
        self._ceiling()
        if self._plan.thorough:
            self._workers()
        if self._plan.growth:
            self._growth()

    def _ceiling(self) -> None:
        with ExitStack() as stack:
            [bare] = _started(stack, self._application(_BARE))
            requests = traffic.single_requests("uniform", "")
            self._measure.http("bare ASGI", bare, requests, round=1, connections=READ_CONNECTIONS, status=201)

    @property
    def _everything(self) -> bool:
        """Whether this round runs every leg."""
        return self._plan.thorough or self._number == 1

    def _arena(self, workload: Workload, stack: ExitStack) -> Arena:
        hand, textbook, service = (
            stack.enter_context(self._server.database(f"{name}_{workload}")) for name in ("hand", "textbook", "service")
        )
        by_hand.install(hand)
        textbook_server, service_server = _started(
            stack, self._application(_TEXTBOOK, textbook), self._service(service, self._plan.workers)
        )
        return Arena(workload, hand, textbook, textbook_server, service, service_server)

    def _application(self, target: str, database: BenchmarkDatabase | None = None) -> AbstractContextManager[Endpoint]:
        workers = self._plan.workers if database is None else self._plan.textbook_workers
        url = "" if database is None else database.url
        return serving.application(target, self._logs / "applications.log", workers=workers, url=url)

    def _service(self, database: BenchmarkDatabase, workers: int) -> AbstractContextManager[Endpoint]:
        return serving.service(database.url, self._logs / "service.log", workers=workers)

    def _contenders(self, family: Family, arena: Arena, connections: tuple[int, ...]) -> list[int]:
        """Return with how many connections ``family`` runs in this round."""
        if self._everything:
            return list(connections)
        [first] = best(self._results.of(family, workload=arena.workload, round=1))
        alone = [1] if 1 in connections and arena.workload == "uniform" else []  # the latency of one caller
        return sorted({*alone, first.connections})

    def _by_hand(self, arena: Arena) -> None:
        for clients in self._contenders("SQL by hand", arena, by_hand.CLIENTS):
            self._measure.by_hand(arena.hand, clients=clients, workload=arena.workload, number=self._number)

    def _textbook(self, arena: Arena) -> None:
        requests = traffic.single_requests(arena.workload, "")
        for connections in self._contenders("textbook", arena, TEXTBOOK_CONNECTIONS):
            self._post(
                "textbook",
                arena.textbook_server,
                arena.textbook,
                requests,
                connections=connections,
                workload=arena.workload,
            )

    def _single(self, arena: Arena) -> None:
        workload = arena.workload
        requests = traffic.single_requests(workload, arena.service_server.token)
        fastest = 0.0
        for connections in self._contenders("single", arena, SINGLE_CONNECTIONS):
            leg = self._post(
                "single", arena.service_server, arena.service, requests, connections=connections, workload=workload
            )
            fastest = max(fastest, leg.per_second)
        self._post(
            "single, paced",
            arena.service_server,
            arena.service,
            requests,
            connections=PACED_CONNECTIONS,
            workload=workload,
            offered_per_second=fastest / 2,
        )

    def _batches(self, arena: Arena) -> None:
        every_size = self._plan.thorough or (self._number == 1 and arena.workload == "uniform")
        for items in BATCH_CONNECTIONS if every_size else (1_000,):
            self._post_batches(arena.service_server, arena.service, items, workload=arena.workload)

    def _reads(self, arena: Arena, empty: Endpoint) -> None:
        accounts = [traffic.account_id(number) for number in range(traffic.ACCOUNTS)]
        self._get("empty handler", empty, ["/accounts"])
        self._get("GET account", arena.service_server, [f"/accounts/{account}" for account in accounts])
        if not self._everything:
            return
        transfers = arena.service.fetch_column("SELECT id FROM funds.transfers ORDER BY random() LIMIT 10000")
        self._get("GET transfer", arena.service_server, [f"/transfers/{transfer}" for transfer in transfers])
        self._get(
            "list transfers",
            arena.service_server,
            [f"/transfers?account_id={account}&limit={LISTED}" for account in accounts],
        )
        self._measure.select_by_hand(arena.service, clients=16, number=self._number)

    def _get(self, family: Family, endpoint: Endpoint, paths: list[str]) -> None:
        requests = traffic.get_requests(paths, endpoint.token)
        self._measure.http(family, endpoint, requests, round=self._number, connections=READ_CONNECTIONS)

    def _workers(self) -> None:
        """Hold two workers against one, taking turns: on one ledger, and on many."""
        cases: tuple[tuple[Workload, int], ...] = (("uniform", 1), ("hot", 1), ("uniform", traffic.LEDGERS))
        for workload, ledgers in cases:
            with ExitStack() as stack:
                databases = [
                    stack.enter_context(self._server.database(f"workers_{workload}_{ledgers}_{workers}"))
                    for workers in (1, 2)
                ]
                if ledgers > 1:
                    for database in databases:
                        database.add_ledgers()
                endpoints = _started(stack, *(self._service(one, workers) for workers, one in enumerate(databases, 1)))
                fields: dict[str, Any] = {"workload": workload, "ledgers": ledgers, "phase": "workers"}
                for number in range(1, self._plan.rounds + 1):
                    self._number = number
                    for connections in SINGLE_CONNECTIONS:
                        for endpoint, database in zip(endpoints, databases, strict=True):
                            requests = traffic.single_requests(workload, endpoint.token, ledgers)
                            self._post("single", endpoint, database, requests, connections=connections, **fields)
                    for endpoint, database in zip(endpoints, databases, strict=True):
                        self._post_batches(endpoint, database, 1_000, **fields)

    def run_audits(self, stored: int) -> None:
        """Ask what auditors ask, of a ledger of few transfers and of one with ``stored`` more."""
        self._ceiling()
        with ExitStack() as stack:
            ledgers = self._grown(stack, (0, stored))
            for number in range(1, self._plan.rounds + 1):
                self._number = number
                for size, database, endpoint in ledgers:
                    self._audits(endpoint, database, phase="growth", stored=size)

    def _growth(self) -> None:
        with ExitStack() as stack:
            ledgers = self._grown(stack, GROWTH)
            for number in range(1, self._plan.rounds + 1):
                self._number = number
                for stored, database, endpoint in ledgers:
                    fields: dict[str, Any] = {"workload": "uniform", "phase": "growth", "stored": stored}
                    requests = traffic.single_requests("uniform", endpoint.token)
                    for connections in (64, 256):
                        self._post("single", endpoint, database, requests, connections=connections, **fields)
                    self._post_batches(endpoint, database, 1_000, **fields)
                    self._audits(endpoint, database, phase="growth", stored=stored)

    def _audits(self, endpoint: Endpoint, database: BenchmarkDatabase, **fields: Any) -> None:
        """Ask what auditors ask of ``database``."""
        [recorded] = database.fetch("SELECT min(created_at) AS begin, max(created_at) AS end FROM funds.transfers")
        for family, paths in traffic.audits(recorded["begin"], recorded["end"]).items():
            requests = traffic.get_requests(paths, endpoint.token)
            self._measure.http(family, endpoint, requests, round=self._number, connections=AUDIT_CONNECTIONS, **fields)

    def _grown(self, stack: ExitStack, sizes: tuple[int, ...]) -> list[tuple[int, BenchmarkDatabase, Endpoint]]:
        """Return for each of ``sizes`` a database with so many transfers, filled through the service, and its service.
        The first is empty, and each one from the third on goes on from the one before.
        """
        databases: list[BenchmarkDatabase] = []
        for number, size in enumerate(sizes):
            like, before = (databases[-1], sizes[number - 1]) if number > 1 else (None, 0)
            databases.append(stack.enter_context(self._server.database(f"grown_{number}", like=like)))
            if size:
                self._fill(databases[-1], size - before, watch_memory=number == 1)
        endpoints = _started(stack, *(self._service(database, self._plan.workers) for database in databases))
        for database, endpoint in zip(databases, endpoints, strict=True):
            database.execute("VACUUM (ANALYZE)")
            self._post_unmeasured(endpoint, database, WARMING_UP)
        return list(zip(sizes, databases, endpoints, strict=True))

    def _fill(self, database: BenchmarkDatabase, transfers: int, *, watch_memory: bool = False) -> None:
        with ExitStack() as stack:
            [endpoint] = _started(stack, self._service(database, self._plan.workers))
            self._post_unmeasured(endpoint, database, transfers, watch_memory=watch_memory)
        self._say(f"filled {database.name} with {transfers:,} transfers")

    def _post_unmeasured(
        self, endpoint: Endpoint, database: BenchmarkDatabase, transfers: int, *, watch_memory: bool = False
    ) -> None:
        requests = traffic.batch_requests("uniform", endpoint.token, 1_000, dated=True)
        posted = 0
        with LoadGenerator(endpoint.port, BATCH_CONNECTIONS[1_000], status=201) as generator:
            while posted < transfers:
                posted += generator.run(islice(requests, 100), seconds=600).completed * 1_000
                if watch_memory:
                    self._results.memory.append(Memory(posted, memory_mb(endpoint.pid)[0]))
        database.add(posted)

    def _post_batches(self, endpoint: Endpoint, database: BenchmarkDatabase, items: int, **fields: Any) -> None:
        requests = traffic.batch_requests(fields["workload"], endpoint.token, items, fields.get("ledgers", 1))
        self._post("batch", endpoint, database, requests, connections=BATCH_CONNECTIONS[items], items=items, **fields)

    def _post(
        self, family: Family, endpoint: Endpoint, database: BenchmarkDatabase, requests: Iterator[bytes], **fields: Any
    ) -> Leg:
        """Run a leg that posts transfers."""
        return self._measure.http(
            family, endpoint, requests, status=201, database=database, round=self._number, **fields
        )

    def _record(self, leg: Leg) -> None:
        self._results.legs.append(leg)
        name = leg.family if leg.items == 1 else f"{leg.family} of {leg.items:,}"
        self._say(
            f"{name:16} {leg.workload or '':8} at {leg.connections:3} {leg.per_second:9,.0f}/s"
            f"   (others used {leg.other_cores:.2f} cores)"
        )


def _started(stack: ExitStack, *servers: AbstractContextManager[Endpoint]) -> list[Endpoint]:
    """Start ``servers`` side by side, until ``stack`` ends, and wait until all are ready."""
    endpoints = [stack.enter_context(server) for server in servers]
    for endpoint in endpoints:
        endpoint.wait_until_ready()
    return endpoints
