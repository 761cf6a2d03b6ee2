"""The PostgreSQL of a benchmark, its databases, and the proof that no leg lost or made money."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import asyncpg
from msgspec import Struct

from service.data_files import ROLES_SQL
from service.embedded.postgres import SERVICE, SUPERUSER, EmbeddedPostgres
from service.storage.migrations import upgrade
from tests.benchmarks.system_server import LOGINS, system_postgres
from tests.benchmarks.traffic import ACCOUNT_ID, ACCOUNTS, CURRENCY, FIRST_ACCOUNT, LEDGERS, ledger_name
from tests.support.debian import PASSWORD
from tests.support.invariants import assert_ledger_is_sound

# Production-like, sized for a small machine. What is not named here is PostgreSQL's default.
POSTGRES_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "4GB",
    "max_wal_size": "4GB",
    "min_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "max_connections": "200",
}
TEMPLATE = "funds"
OPENING_BALANCE = 1_000_000_000

# The treasury's id sorts behind every account's. Opening balances are transfers like all others: sums agree from the
# start. Key and fingerprint have the shape of real ones.
# Identifiers are made as ``domain.identifiers`` makes them: the time, then the position.
_ID = """(lpad(to_hex(floor(extract(epoch FROM now()) * 1000)::bigint), 12, '0')
              || '7' || lpad(to_hex(extract(microseconds FROM now())::bigint % 1000 * 4096 / 1000), 3, '0')
              || to_hex(32768 + number) || '000000000000')::uuid"""
_FILL = f"""
    INSERT INTO funds.accounts (ledger_id, id, currency, normal_side, minimum_balance, debits_posted, credits_posted,
                                version, created_at, updated_at)
    SELECT 1, ('{ACCOUNT_ID.format("")}' || {FIRST_ACCOUNT} + number)::uuid, '{CURRENCY}', 'credit', 0, 0,
           {OPENING_BALANCE}, 1, now(), now()
    FROM generate_series(0, {ACCOUNTS - 1}) AS number
    UNION ALL
    SELECT 1, '{ACCOUNT_ID.format("999999999999")}', '{CURRENCY}', 'debit', NULL, {OPENING_BALANCE * ACCOUNTS}, 0,
           {ACCOUNTS}, now(), now();

    INSERT INTO funds.transfers (ledger_id, id, debit_account_id, credit_account_id, amount, currency,
        debit_account_version, credit_account_version, debit_balance_after, credit_balance_after, metadata,
        effective_at, created_at, client_id, idempotency_key)
    SELECT 1, {_ID}, '{ACCOUNT_ID.format("999999999999")}', id, {OPENING_BALANCE}, currency,
           number, 1, {OPENING_BALANCE} * number, {OPENING_BALANCE}, '{{}}', now(), now(),
           'admin', md5(id::text)
    FROM (SELECT id, currency, row_number() OVER (ORDER BY id) AS number
          FROM funds.accounts WHERE normal_side = 'credit') AS account
    ORDER BY number;

    INSERT INTO funds.decisions (ledger_id, client_id, idempotency_key, fingerprint, operation, outcome, resource_id,
        created_at)
    SELECT 1, client_id, idempotency_key, decode(md5(id::text), 'hex'), 'post_transfer', 'applied', id, created_at
    FROM funds.transfers;

    UPDATE funds.ledger_heads SET last_at = clock_timestamp();
"""

# More ledgers, whose accounts have the ids of those of ``main`` and no bounds, so that nobody has to fund them.
_MORE_LEDGERS = "".join(
    f"""
    INSERT INTO funds.ledgers (name, created_at) VALUES ('{ledger_name(number)}', now());
    INSERT INTO funds.ledger_heads (ledger_id, last_at)
    SELECT id, now() FROM funds.ledgers WHERE name = '{ledger_name(number)}';
    INSERT INTO funds.accounts (ledger_id, id, currency, normal_side, created_at, updated_at)
    SELECT ledger.id, account.id, currency, normal_side, now(), now()
    FROM funds.ledgers AS ledger, funds.accounts AS account
    WHERE ledger.name = '{ledger_name(number)}' AND account.ledger_id = 1;
    """
    for number in range(1, LEDGERS + 1)
)

# A server that has seen a checkpoint writes its log into files that it has used before. A new one makes each of them
# first, 16 MB of zeros, while whoever commits waits (45 ms, measured, every 14,000 transfers). So 2 GB of files are
# used once before the first leg, and the checkpoint hands them back.
_USED_LOG = """
    DO $$
    BEGIN
        FOR number IN 1..128 LOOP
            PERFORM pg_logical_emit_message(false, 'benchmark', 'used');
            PERFORM pg_switch_wal();
        END LOOP;
    END $$
"""

_SUMS = """
    SELECT (SELECT count(*) FROM funds.transfers) AS transfers,
           (SELECT count(*) FROM funds.decisions WHERE outcome = 'applied') AS applied,
           (SELECT count(*) FROM funds.decisions) AS decisions,
           (SELECT sum(amount) FROM funds.transfers) AS amounts,
           (SELECT sum(debits_posted) FROM funds.accounts) AS debits,
           (SELECT sum(credits_posted) FROM funds.accounts) AS credits,
           (SELECT sum(version) FROM funds.accounts) AS versions
"""


class LedgerError(Exception):
    """A leg lost or made money, or a transfer that was acknowledged is not there."""


class Postgres(Protocol):
    """What a benchmark knows of its server."""

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster."""

    @property
    def owner_url(self) -> str:
        """URL of database ``funds`` for the role that migrates."""

    @property
    def superuser_url(self) -> str:
        """URL of database ``funds`` for the superuser."""

    def url(self, role: str, database: str) -> str:
        """Return the URL that connects ``role`` to ``database``."""


class Server(Struct, frozen=True):
    """A running PostgreSQL with a template of funded accounts."""

    postgres: Postgres

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        assert self.postgres.pid is not None, "it runs"
        return self.postgres.pid

    @contextmanager
    def database(self, name: str, like: "BenchmarkDatabase | None" = None) -> Iterator["BenchmarkDatabase"]:
        """Clone the template, or the database ``like``; the clone is dropped at the end."""
        source, strategy = (TEMPLATE, "WAL_LOG") if like is None else (like.name, "FILE_COPY")
        self._execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY {strategy}")
        try:
            yield BenchmarkDatabase(self, name, ACCOUNTS if like is None else like.transfers)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def settings(self) -> dict[str, str]:
        """Return the settings named in POSTGRES_SETTINGS and the version, as the server itself tells them."""
        names = ["server_version", *POSTGRES_SETTINGS]
        rows = asyncio.run(
            _fetch(
                self.postgres.url(SUPERUSER, "postgres"),
                "SELECT name, current_setting(name) AS value FROM unnest($1::text[]) AS name",
                names,
            )
        )
        return {row["name"]: row["value"] for row in rows}

    def _execute(self, statement: str) -> None:
        asyncio.run(_execute(self.postgres.url(SUPERUSER, "postgres"), statement))


class BenchmarkDatabase(Struct):
    """A database of funded accounts; ``transfers`` counts those that must be in it."""

    server: Server
    name: str
    transfers: int

    @property
    def url(self) -> str:
        """The URL for the role of the service."""
        return self.server.postgres.url(SERVICE, self.name)

    def execute(self, statement: str) -> None:
        """Run ``statement`` as the superuser."""
        asyncio.run(_execute(self.server.postgres.url(SUPERUSER, self.name), statement))

    def add_ledgers(self) -> None:
        """Add LEDGERS more."""
        self.execute(_MORE_LEDGERS + "ANALYZE;")

    def fetch_column(self, query: str) -> list[str]:
        """Return the first column of ``query``, as text."""
        return [str(row[0]) for row in asyncio.run(_fetch(self.server.postgres.url(SUPERUSER, self.name), query))]

    def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of ``query``."""
        return asyncio.run(_fetch(self.server.postgres.url(SUPERUSER, self.name), query, *arguments))

    def prove(self) -> None:
        """Check every invariant of ledgers on every row. Raises AssertionError that names what breaks which rule."""
        asyncio.run(assert_ledger_is_sound(self.server.postgres.url(SUPERUSER, self.name)))

    def add(self, acknowledged: int) -> None:
        """Count ``acknowledged`` more transfers and prove that they are there, and that the ledger is in balance.

        Raises LedgerError.
        """
        self.transfers += acknowledged
        [sums] = asyncio.run(_fetch(self.server.postgres.url(SUPERUSER, self.name), _SUMS))
        counted = {sums["transfers"], sums["applied"], sums["decisions"], self.transfers}
        if len(counted) != 1 or sums["versions"] != 2 * self.transfers:
            raise LedgerError(
                f"{self.name}: {self.transfers} transfers were acknowledged, the ledger says {dict(sums)}"
            )
        if not sums["amounts"] == sums["debits"] == sums["credits"]:
            raise LedgerError(f"{self.name}: the ledger is out of balance: {dict(sums)}")


@contextmanager
def new_server(directory: Path) -> Iterator[Server]:
    """Start a PostgreSQL with new data in ``directory``; both are gone at the end. Raises EmbeddedPostgresError."""
    postgres = EmbeddedPostgres(directory, options=POSTGRES_SETTINGS)
    if postgres.data.exists():  # a benchmark was killed, and its server may still run
        postgres.start()
        postgres.stop()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o711 if os.geteuid() == 0 else 0o700)  # root's PostgreSQL is another user's
    with postgres:
        yield _filled(postgres)
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def new_system_server() -> Iterator[Server]:
    """Start a PostgreSQL of the system's packages with new data; both are gone at the end."""
    with system_postgres(POSTGRES_SETTINGS) as postgres:
        passwords = (f"ALTER ROLE {role} PASSWORD '{PASSWORD}'" for role in LOGINS)
        asyncio.run(_execute(postgres.superuser_url, ROLES_SQL.read_text(), *passwords))
        yield _filled(postgres)


def _filled(postgres: Postgres) -> Server:
    asyncio.run(upgrade(postgres.owner_url))
    asyncio.run(_execute(postgres.superuser_url, _FILL, "VACUUM ANALYZE", _USED_LOG, "CHECKPOINT"))
    return Server(postgres)


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _fetch(url: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()
