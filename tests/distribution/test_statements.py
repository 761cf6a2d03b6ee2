"""Every statement that the service sends names its ledger, and no transaction writes to two.

That is what lets tables be distributed over nodes by ``ledger_id``. It is read from the plans that PostgreSQL makes for
the values that were sent: each distributed table is read there by the number of a ledger, however the statement says
so.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import asyncpg
import pytest

from service.storage.distribution import DISTRIBUTED_TABLES, REFERENCE_TABLES
from tests.distribution.whole_life import whole_life
from tests.support.citus import claim_citus
from tests.support.http_ledger import LedgerClient
from tests.support.log import serving_log
from tests.support.sent_statements import Sent, everything_sent
from tests.support.servers import TestDatabase, TestPostgres

NO_LEDGER = -1
"""Stands for a scan of rows of any ledger."""

OF_MANY = {
    "expired holds, for the sweeper": "SELECT funds.holds.ledger_id, funds.holds.id FROM funds.holds WHERE",
    "heads that have moved, for the sealer": "FROM funds.ledger_heads LEFT OUTER JOIN funds.ledgers",
    "checkpoints of these, for the sealer": "SELECT head.ledger_id, coalesce(ledger.name, '')",
    "heads that readers follow": "FROM funds.ledger_heads WHERE funds.ledger_heads.ledger_id = ANY",
    "what verification found": "array_agg(anon_2.id) FILTER (WHERE funds.verifications.damaged)",
    "who created a ledger": "creations AS MATERIALIZED",
    "heads without a ledger": "SELECT FROM funds.ledgers AS ledger WHERE ledger.id = head.ledger_id",
}
"""What reads rows of many ledgers, by a part of its text: to find work, or what is true of all. It changes nothing."""


class Read(NamedTuple):
    """A statement and the ledgers whose rows it reads or changes."""

    statement: str
    ledgers: set[int]


@pytest.fixture(scope="module")
async def test_database(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    async with postgres.fresh_database() as database:
        yield database


@pytest.fixture(scope="module")
async def superuser(test_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(test_database.superuser_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def sent(test_database: TestDatabase, superuser: asyncpg.Connection) -> list[Sent]:
    """All that the service sends in the whole life of a ledger beside another one, its workers among it, to a server
    that says that it has Citus.
    """
    await claim_citus(superuser)
    with pytest.MonkeyPatch.context() as patch, everything_sent(patch) as ended:
        async with (
            serving_log(test_database, verify_interval_seconds=0.1, verify_share=1) as application,
            application.client(application.settings.admin_token) as client,
        ):
            await whole_life(await LedgerClient.open(client, "life"))
    return ended


@pytest.fixture(scope="module")
async def transactions(sent: list[Sent], superuser: asyncpg.Connection) -> list[list[Read]]:
    """The same as what each transaction read or changed; what it copied is a statement, too."""
    known: dict[str, set[int]] = {}

    async def ledgers_of(statement: str, values: tuple[Any, ...]) -> set[int]:
        asked = repr((statement, values))
        if asked not in known:
            plan = await superuser.fetchval(f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) {statement}", *values)
            known[asked] = set(_ledgers_of(json.loads(plan)[0]["Plan"]))
        return known[asked]

    return [
        [
            *[Read(text, await ledgers_of(text, values)) for text, values in one.statements if "funds." in text],
            *[Read(f"COPY funds.{table}", {ledger_id}) for table, ledger_id in one.copied],
        ]
        for one in sent
    ]


def _ledgers_of(node: dict[str, Any]) -> Iterator[int]:
    """Yield by which ledger each scan of a distributed table reads it, and of which ledger rows are inserted."""
    if node.get("Relation Name") in DISTRIBUTED_TABLES:
        if node["Node Type"] != "ModifyTable":
            conditions = " ".join(str(node[one]) for one in ("Index Cond", "Recheck Cond", "Filter") if one in node)
            found = re.findall(rf"\((?:{node['Alias']}\.)?ledger_id = (\d+)\)", conditions)
            yield from map(int, found or [NO_LEDGER])
        elif node["Operation"] == "Insert":
            [source] = node["Plans"]
            yield int(source["Output"][0])  # every distributed table begins with its ledger
    for one in node.get("Plans", []):
        yield from _ledgers_of(one)


def is_of_many(statement: str) -> str | None:
    """Which part of OF_MANY ``statement`` has."""
    flat = " ".join(statement.split())
    return next((what for what, part in OF_MANY.items() if part in flat), None)


def _writes(statement: str) -> bool:
    return re.search(r"\b(INSERT|UPDATE|DELETE|COPY)\b", statement) is not None  # FOR UPDATE, too


async def test_every_table_is_distributed_or_everywhere(superuser: asyncpg.Connection) -> None:
    tables = await superuser.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'funds'")
    assert sorted(DISTRIBUTED_TABLES + REFERENCE_TABLES) == sorted(row["tablename"] for row in tables)
    for table in DISTRIBUTED_TABLES:
        first = "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum = 1"
        assert await superuser.fetchval(first, f"funds.{table}") == "ledger_id"


async def test_unique_keys_and_references_of_distributed_tables_have_the_ledger(superuser: asyncpg.Connection) -> None:
    without = await superuser.fetch(
        """
        SELECT conrelid::regclass::text, conname FROM pg_constraint
        WHERE connamespace = 'funds'::regnamespace AND contype IN ('p', 'u', 'f') AND 1 <> ALL (conkey)
        """
    )
    assert {row["conrelid"].removeprefix("funds.") for row in without} & set(DISTRIBUTED_TABLES) == set()


async def test_every_statement_names_its_ledger(transactions: list[list[Read]]) -> None:
    reads = [read for transaction in transactions for read in transaction]
    of_many = [read for read in reads if NO_LEDGER in read.ledgers or len(read.ledgers) > 1]
    assert {read.statement for read in of_many if is_of_many(read.statement) is None} == set()
    assert [read.statement for read in of_many if _writes(read.statement)] == []


async def test_what_reads_many_ledgers_is_known(transactions: list[list[Read]]) -> None:
    """No part of a text that stands for nothing any more."""
    found = {is_of_many(read.statement) for transaction in transactions for read in transaction}
    assert found - {None} == set(OF_MANY)


async def test_a_transaction_writes_to_one_ledger(transactions: list[list[Read]]) -> None:
    """A new ledger's beginning also stands in the installation's own history."""
    creations = 0
    for transaction in transactions:
        written = set().union(*(read.ledgers for read in transaction if _writes(read.statement)))
        if any("INSERT INTO funds.ledgers " in read.statement for read in transaction):
            assert 0 in written
            written -= {0}
            creations += 1
        assert len(written) <= 1, transaction
    assert creations == 2, "one is refused: its name is taken"


async def test_a_transaction_reads_one_ledger(transactions: list[list[Read]]) -> None:
    """But for what reads many, and the creation of a ledger."""
    for transaction in transactions:
        if any("INSERT INTO funds.ledgers " in read.statement for read in transaction):
            continue
        read_of = set().union(*(read.ledgers for read in transaction if is_of_many(read.statement) is None))
        assert len(read_of) <= 1, transaction
