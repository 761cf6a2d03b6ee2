"""What grows for ever, and how the hot tables fare: ``python -m tests.benchmarks growth``. docs/growth.md explains it.

A database is filled through the service, with its logs sealed: transfers in batches, then single transfers for some
minutes, rejections, and holds that expire. Then every table and index is measured, and verified.
"""

import itertools
import json
import math
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

from msgspec import Struct

from service.proofs.keys import SignerKey
from tests.benchmarks import traffic
from tests.benchmarks.databases import BenchmarkDatabase, Server
from tests.benchmarks.load import LoadGenerator
from tests.benchmarks.serving import Endpoint, service
from tests.support.servers import FUNDS, ROOT, clean_environment

HOT_TABLES = ("accounts", "ledger_heads", "holds")
REJECTIONS = HOLDS = 50_000
SNAPSHOT_SECONDS = 60

_SLICE_SECONDS = 5
_WAIT_SECONDS_MAX = 600
_MILLION = 1_000_000

# TOAST belongs to the heap: it has what one row is too large for.
_SIZES = """
    SELECT relation.relname AS name, relation.relname AS of, pg_table_size(relation.oid) AS bytes
    FROM pg_class AS relation
    WHERE relation.relnamespace = 'funds'::regnamespace AND relation.relkind = 'r'
    UNION ALL
    SELECT index.relname, relation.relname, pg_relation_size(index.oid)
    FROM pg_index
    JOIN pg_class AS index ON index.oid = indexrelid
    JOIN pg_class AS relation ON relation.oid = indrelid
    WHERE index.relnamespace = 'funds'::regnamespace
"""

_HEALTH = """
    SELECT relname AS name, n_tup_upd AS updates, n_tup_hot_upd AS hot_updates, n_dead_tup AS dead,
           autovacuum_count AS autovacuums, pg_relation_size(relid) AS bytes
    FROM pg_stat_user_tables
    WHERE schemaname = 'funds' AND relname = ANY($1)
"""

_UNSEALED = """
    SELECT (SELECT count(*) FROM funds.transfers WHERE ledger_id = 1)
         + (SELECT count(*) FROM funds.holds WHERE ledger_id = 1)
         + (SELECT count(*) FROM funds.history WHERE ledger_id = 1)
         - (SELECT coalesce(max(size), 0) FROM funds.log_checkpoints WHERE ledger_id = 1)
"""

# The table as it is, and in parts by identifier: a unique index of a part says nothing of the others, so that the
# versions of accounts are in plain indexes.
_COPY = """
    CREATE TABLE funds.{name} (LIKE funds.transfers) {parted};
    {parts}
    ALTER TABLE funds.{name} ADD PRIMARY KEY (ledger_id, id);
    CREATE INDEX ON funds.{name} (ledger_id, debit_account_id, debit_account_version);
    CREATE INDEX ON funds.{name} (ledger_id, credit_account_id, credit_account_version);
"""
_PART = "CREATE TABLE funds.parted_{number} PARTITION OF funds.parted FOR VALUES FROM ({begin}) TO ({end});"
_BORDERS = """
    SELECT quote_literal(id) FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM funds.transfers) AS one
    WHERE number % (SELECT count(*) / {parts} + 1 FROM funds.transfers) = 0 AND number > 0
    ORDER BY id
"""
_STATEMENTS = {
    "the latest 20 of an account": """
        SELECT FROM (SELECT id FROM funds.accounts WHERE ledger_id = 1 ORDER BY id LIMIT 1000) AS account, LATERAL (
            SELECT id FROM funds.{name} WHERE ledger_id = 1 AND debit_account_id = account.id
            ORDER BY debit_account_version DESC LIMIT 20
        ) AS latest
    """,
    "one by its identifier": """
        SELECT FROM (SELECT id AS wanted FROM funds.transfers TABLESAMPLE SYSTEM (1) LIMIT 1000) AS one, LATERAL (
            SELECT id FROM funds.{name} WHERE ledger_id = 1 AND id = wanted LIMIT 1
        ) AS found
    """,
}

_SNAPSHOT = """
    BEGIN ISOLATION LEVEL REPEATABLE READ;
    SELECT count(*) FROM funds.ledgers;
    SELECT pg_sleep({seconds});
    COMMIT
"""


class Health(Struct, frozen=True):
    """What PostgreSQL counts of a table that is updated."""

    name: str
    updates: int
    hot_updates: int
    dead: int
    autovacuums: int
    bytes: int


class Phase(Struct):
    """What one load made: ``grown`` is in bytes, by table or index; ``health`` that of each hot table, by time."""

    name: str
    count: int
    seconds: float
    grown: dict[tuple[str, str], int]
    health: list[dict[str, Health]]


class Growth:
    """Fills ``database``, measures what that made, and prints it."""

    def __init__(self, database: BenchmarkDatabase, *, transfers: int, seconds: float) -> None:
        self._database = database
        self._transfers = transfers
        self._seconds = seconds

    def run(self, log: Path) -> None:
        """Carry out every load, one after the other, and print the tables of docs/growth.md."""
        key = SignerKey.generate("benchmark.test/funds")
        with service(self._database.url, log, workers=1, settings={"FUNDS_LOG_KEY": key.secret_text()}) as endpoint:
            endpoint.wait_until_ready()
            batches = traffic.batch_requests("uniform", endpoint.token, 1_000)
            singles = traffic.single_requests("uniform", endpoint.token)
            rejected = traffic.rejected_requests("uniform", endpoint.token)
            holds = traffic.hold_requests("uniform", endpoint.token, seconds=1)
            phases = [
                self._load("transfers, in batches", endpoint, batches, 201, 4, count=self._transfers, items=1_000),
                self._load("transfers, one by one", endpoint, singles, 201, 64, seconds=self._seconds),
                self._load_beside_a_snapshot(endpoint, singles),
                self._load("rejections", endpoint, rejected, 422, 64, count=REJECTIONS),
                self._load("holds that expire", endpoint, holds, 201, 64, count=HOLDS),
            ]
        for phase in phases:
            _print_sizes(phase)
        for phase in phases:
            _print_health(phase)

    def _load(
        self,
        name: str,
        endpoint: Endpoint,
        requests: Iterator[bytes],
        status: int,
        connections: int,
        *,
        count: int | None = None,
        seconds: float = math.inf,
        items: int = 1,
    ) -> Phase:
        """Send ``requests`` of ``items`` each until they have made ``count``, or for ``seconds``, and look at the
        tables now and then.
        """
        before, health, done = self._sizes(), [self._health()], 0
        began = time.monotonic()
        with LoadGenerator(endpoint.port, connections, status=status) as generator:
            while (count is None or done < count) and time.monotonic() - began < seconds:
                left = None if count is None else (count - done) // items
                done += generator.run(itertools.islice(requests, left), _SLICE_SECONDS).completed * items
                health.append(self._health())
        took = time.monotonic() - began
        unsealed = int(self._fetch_one(_UNSEALED))
        self._wait_until("SELECT count(*) FROM funds.holds WHERE status = 'open'")
        self._wait_until(_UNSEALED)
        lag = time.monotonic() - began - took
        _say(f"{name}: {done:,} in {took:.0f} s; {unsealed:,} entries were not sealed yet, {lag:.1f} s later all were")
        health.append(self._health())
        after = self._sizes()
        grown = {one: size - before.get(one, 0) for one, size in after.items()}
        return Phase(name, done, took, grown, health)

    def _load_beside_a_snapshot(self, endpoint: Endpoint, requests: Iterator[bytes]) -> Phase:
        """Send transfers one by one while somebody else reads on one snapshot, as a backup or a verification does."""
        reader = Thread(target=self._database.execute, args=(_SNAPSHOT.format(seconds=SNAPSHOT_SECONDS),))
        reader.start()
        name = "transfers, one by one, beside a snapshot"
        phase = self._load(name, endpoint, requests, 201, 64, seconds=SNAPSHOT_SECONDS)
        reader.join()
        return phase

    def verify(self) -> None:
        """Verify everything, and print how long that took. The command finds that the accounts of a benchmark were
        opened by nobody; that all else is sound is proved by its rules.
        """
        settings = clean_environment({"FUNDS_DATABASE_URL": self._database.url})
        began = time.monotonic()
        subprocess.run([*FUNDS, "verify"], cwd=ROOT, env=settings, check=False, stdout=subprocess.DEVNULL)
        seconds, transfers = time.monotonic() - began, int(self._fetch_one("SELECT count(*) FROM funds.transfers"))
        _say(f"verified {transfers:,} transfers in {seconds:.0f} s: {seconds * _MILLION / transfers:.0f} s a million")
        self._database.prove()

    def compare_parts(self, parts: int) -> None:
        """Copy all transfers into a table of ``parts`` parts and into one as it is, and print what each costs."""
        borders = ["MINVALUE", *self._database.fetch_column(_BORDERS.format(parts=parts)), "MAXVALUE"]
        made = "".join(
            _PART.format(number=number, begin=begin, end=end)
            for number, (begin, end) in enumerate(itertools.pairwise(borders))
        )
        self._database.execute(_COPY.format(name="whole", parted="", parts=""))
        self._database.execute(_COPY.format(name="parted", parted="PARTITION BY RANGE (id)", parts=made))
        for name in ("whole", "parted"):
            began = time.monotonic()
            self._database.execute(f"INSERT INTO funds.{name} SELECT * FROM funds.transfers ORDER BY id")
            _say(f"{name}: all transfers added in {time.monotonic() - began:.0f} s")
            self._database.execute(f"VACUUM (ANALYZE) funds.{name}")
            for what, statement in _STATEMENTS.items():
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.format(name=name)}"
                self._database.fetch_column(explain)  # the first time reads what is not in memory
                [explained] = json.loads(self._database.fetch_column(explain)[0])
                pages = explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"]
                _say(f"{name}: {what}: {explained['Execution Time']:.0f} µs, {pages / 1000:.1f} pages")

    def _wait_until(self, query: str) -> None:
        """Wait until ``query`` counts none."""
        deadline = time.monotonic() + _WAIT_SECONDS_MAX
        while int(self._fetch_one(query)):
            assert time.monotonic() < deadline, query
            time.sleep(0.2)

    def _fetch_one(self, query: str) -> str:
        return self._database.fetch_column(query)[0]

    def _sizes(self) -> dict[tuple[str, str], int]:
        return {(row["of"], row["name"]): row["bytes"] for row in self._database.fetch(_SIZES)}

    def _health(self) -> dict[str, Health]:
        found = [Health(**row) for row in self._database.fetch(_HEALTH, HOT_TABLES)]
        return {one.name: one for one in found}


def run(server: Server, build: Path, *, transfers: int, seconds: float, parts: int) -> None:
    """Measure growth on a database of ``server``; what the service writes goes to ``build``."""
    with server.database("growth") as database:
        growth = Growth(database, transfers=transfers, seconds=seconds)
        growth.run(build / "growth.log")
        growth.compare_parts(parts)
        growth.verify()


def _print_sizes(phase: Phase) -> None:
    _say(f"\n{phase.name}: MB for each million\n\n| table | heap | indexes | all |\n| --- | ---: | ---: | ---: |")
    tables = sorted({table for table, _ in phase.grown})
    for table in tables:
        heap = phase.grown[table, table]
        indexes = {name: size for (of, name), size in phase.grown.items() if of == table and name != table}
        if heap + sum(indexes.values()) <= 0:
            continue
        heap_mb, indexes_mb = (size / phase.count for size in (heap, sum(indexes.values())))
        listed = ", ".join(f"{name} {size / phase.count:.0f}" for name, size in sorted(indexes.items()))
        _say(f"| {table} | {heap_mb:.0f} | {listed} | {heap_mb + indexes_mb:.0f} |")


def _print_health(phase: Phase) -> None:
    _say(
        f"\n{phase.name}, {phase.count:,} in {phase.seconds:.0f} s\n\n"
        "| table | updates | HOT | dead rows, at most | autovacuums | heap before, after |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    first, last = phase.health[0], phase.health[-1]
    for name in HOT_TABLES:
        updates = last[name].updates - first[name].updates
        if updates:
            hot = (last[name].hot_updates - first[name].hot_updates) / updates
            dead = max(one[name].dead for one in phase.health)
            vacuums = last[name].autovacuums - first[name].autovacuums
            sizes = f"{first[name].bytes / 1024:,.0f}, {last[name].bytes / 1024:,.0f} KB"
            _say(f"| {name} | {updates:,} | {hot:.1%} | {dead:,} | {vacuums} | {sizes} |")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
