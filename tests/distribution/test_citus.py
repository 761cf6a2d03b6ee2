"""The service on distributed tables: the whole life of a ledger, and which nodes its statements go to."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from service.data_files import MIGRATIONS
from service.proofs.keys import SignerKey
from service.storage.distribution import DISTRIBUTED_TABLES, REFERENCE_TABLES, distribute
from service.storage.migrations import upgrade
from service.storage.schema import SCHEMA_REVISION
from tests.api.moves import freed, open_hold
from tests.distribution.conftest import Node
from tests.distribution.test_statements import is_of_many
from tests.distribution.whole_life import whole_life
from tests.support.http_ledger import LedgerClient, keyed, problem, recovered, transfer, unique
from tests.support.invariants import assert_ledger_is_sound
from tests.support.log import ORIGIN, sealed, serving_log
from tests.support.sent_statements import Sent, everything_sent
from tests.support.servers import TestDatabase

MOVE = """
    SELECT citus_move_shard_placement($1, one.nodename, one.nodeport, other.nodename, other.nodeport, 'block_writes')
    FROM pg_dist_node AS one, pg_dist_node AS other
    WHERE one.groupid = $2 AND one.noderole = 'primary' AND other.groupid = $3 AND other.noderole = 'primary'
"""
VERIFIED_AT_ONCE = {"verify_interval_seconds": 0.1, "verify_share": 1}


@pytest.fixture(scope="session")
def log_key() -> str:
    """Signs the logs, from the first one on."""
    return SignerKey.generate(ORIGIN).secret_text()


@asynccontextmanager
async def client_of(database: TestDatabase, log_key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving_log(database, log_key=log_key, **VERIFIED_AT_ONCE) as application,
        application.client(application.settings.admin_token) as client,
    ):
        yield client


@pytest.fixture
async def client(distributed: TestDatabase, log_key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(distributed, log_key) as client:
        yield client


async def test_all_or_nothing_is_distributed(migrated: TestDatabase) -> None:
    """It is told before, and done once: what is said then is nothing."""
    foretold = await distribute(migrated.superuser_url, dry_run=True)
    assert await distribute(migrated.superuser_url, dry_run=True) == foretold
    assert await distribute(migrated.superuser_url) == foretold
    told = " ".join(foretold)
    assert [name for name in (*REFERENCE_TABLES, *DISTRIBUTED_TABLES) if name not in told] == []
    assert "fk_accounts_ledger" in told
    assert await distribute(migrated.superuser_url) == []


async def test_foreign_keys_are_there_again(superuser: asyncpg.Connection) -> None:
    tables = [f"funds.{name}" for name in (*REFERENCE_TABLES, *DISTRIBUTED_TABLES)]
    valid = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND convalidated AND conrelid = ANY($1::regclass[])"
    found = await superuser.fetch(valid.replace("$1", "$1::text[]"), tables)
    assert {row["conname"] for row in found} == {
        "fk_accounts_ledger",
        "fk_holds_debit_account",
        "fk_holds_credit_account",
        "fk_transfers_hold",
        "fk_reversed_transfers_transfer",
        "fk_log_cosignatures_checkpoint",
        "fk_token_uses_token",
    }


@pytest.fixture
async def sent(client: httpx.AsyncClient) -> list[Sent]:
    with pytest.MonkeyPatch.context() as patch, everything_sent(patch) as ended:
        await whole_life(await LedgerClient.open(client, unique("life")))
    return ended


async def test_a_ledger_lives_on_one_node(sent: list[Sent], superuser: asyncpg.Connection) -> None:
    """Each statement is a task for one shard, as Citus plans it; but for those that read rows of all ledgers."""
    known: dict[str, set[str]] = {}
    for statement, values in (one for transaction in sent for one in transaction.statements):
        if "funds." in statement and statement not in known:
            plan = await superuser.fetchval(f"EXPLAIN (COSTS OFF, FORMAT JSON) {statement}", *values)
            known[statement] = set(re.findall(r'"Task Count": (\d+)', json.dumps(json.loads(plan))))
    of_many = {statement for statement, tasks in known.items() if not tasks <= {"1"}}
    assert [statement for statement in of_many if is_of_many(statement) is None] == []
    assert len(known) > 100


async def test_every_rule_holds(sent: list[Sent], distributed: TestDatabase) -> None:
    assert sent
    await assert_ledger_is_sound(distributed.superuser_url)


async def test_a_node_takes_all_requests_too(distributed: TestDatabase, nodes: list[Node], log_key: str) -> None:
    """A new ledger among them: its number is no node's own."""
    place = urlsplit(nodes[0].url).netloc.rpartition("@")[2]
    parts = urlsplit(distributed.service_url)
    url = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{place}"))
    async with client_of(replace(distributed, service_url=url), log_key) as client:
        await whole_life(await LedgerClient.open(client, unique("life")))
    await assert_ledger_is_sound(distributed.superuser_url)


async def test_a_ledger_moves_while_transfers_go_on(
    client: httpx.AsyncClient, distributed: TestDatabase, superuser: asyncpg.Connection, nodes: list[Node]
) -> None:
    ledger = await LedgerClient.open(client, unique("moved"))
    payer, payee = await ledger.account(), await ledger.account()
    moved = asyncio.Event()

    async def pay() -> int:
        number = 0
        while not moved.is_set() or number == 0:
            number += 1
            posted = await recovered(client, "POST", ledger.transfers, json=transfer(payer, payee), headers=keyed())
            assert posted.status_code == 201, posted.text
        return number

    paying = asyncio.create_task(pay())
    isolate = "SELECT isolate_tenant_to_new_shard('funds.ledger_heads', $1::integer, 'CASCADE', 'block_writes')"
    shard = await superuser.fetchval(isolate, await number_of(superuser, ledger))
    before = await group_of(superuser, ledger)
    target = next(node.group for node in nodes if node.group != before)
    await superuser.execute(MOVE, shard, before, target)
    moved.set()
    number = await paying
    assert await group_of(superuser, ledger) == target
    assert (await ledger.read_account(payee))["balance"] == number
    await ledger.move(payer, payee)
    await assert_ledger_is_sound(distributed.superuser_url)


async def test_the_loss_of_a_node_concerns_its_own_ledgers(
    client: httpx.AsyncClient, superuser: asyncpg.Connection, nodes: list[Node]
) -> None:
    by_group: dict[int, LedgerClient] = {}
    while len(by_group) < len(nodes):
        ledger = await LedgerClient.open(client, unique("lost"))
        by_group.setdefault(await group_of(superuser, ledger), ledger)
    accounts = {group: (await one.account(), await one.account()) for group, one in by_group.items()}
    lost, *others = nodes
    key = unique("key")
    async with taken_away(lost):
        away = await by_group[lost.group].post(*accounts[lost.group], key)
        problem(away, 503, "database_unavailable")
        for node in others:
            ledger = by_group[node.group]
            held = await open_hold(ledger, *accounts[node.group], 5, expires_in_seconds=1)
            moved = await ledger.move(*accounts[node.group])
            assert (await sealed(ledger, f"/transfers/{moved['id']}/receipt")).status_code == 200
            assert (await freed(ledger, held))["status"] == "expired"
        response = await client.post("/v1/ledgers", json={"name": unique("none")}, headers=keyed())
        problem(response, 503, "database_unavailable")
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/v1/ledgers")).status_code == 200
    body = transfer(*accounts[lost.group])
    back = await recovered(client, "POST", by_group[lost.group].transfers, json=body, headers=keyed(key))
    assert back.status_code == 201, back.text
    path = f"/transfers/{back.json()['id']}/receipt"
    assert (await sealed(by_group[lost.group], path)).status_code == 200


async def number_of(superuser: asyncpg.Connection, ledger: LedgerClient) -> int:
    return int(await superuser.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", ledger.name))


async def group_of(superuser: asyncpg.Connection, ledger: LedgerClient) -> int:
    """The group of the node that has the ledger."""
    place = (
        "SELECT groupid FROM pg_dist_placement"
        " WHERE shardid = get_shard_id_for_distribution_column('funds.ledger_heads', $1::integer)"
    )
    return int(await superuser.fetchval(place, await number_of(superuser, ledger)))


@asynccontextmanager
async def taken_away(node: Node) -> AsyncIterator[None]:
    """Let the node accept no connection to its part of the database, and end those that there are."""
    name = urlsplit(node.url).path.removeprefix("/")
    beside = await asyncpg.connect(node.beside)
    await beside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await beside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    try:
        yield
    finally:
        await beside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await beside.close()


NEXT_MIGRATION = '''"""Change what a migration may change."""

from alembic import op

revision, down_revision, branch_labels, depends_on = "9000", "{head}", None, None


def upgrade() -> None:
    op.execute("ALTER TABLE funds.accounts ADD COLUMN trial text")
    op.execute("ALTER TABLE funds.ledgers ADD COLUMN trial text")
    op.execute("ALTER TABLE funds.accounts ADD CONSTRAINT ck_trial CHECK (trial <> '') NOT VALID")
    op.execute("ALTER TABLE funds.accounts VALIDATE CONSTRAINT ck_trial")
    op.execute("UPDATE funds.accounts SET trial = 'there'")
    op.execute("CREATE INDEX ix_trial ON funds.transfers (ledger_id, effective_at)")
    op.execute("CREATE VIEW funds_audit.trials AS SELECT id, trial FROM funds.accounts")
    op.execute("DO $$ BEGIN GRANT UPDATE (trial) ON funds.accounts TO funds_service; END $$")
'''


async def test_a_migration_reaches_every_node(
    distributed: TestDatabase, nodes: list[Node], superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    scripts = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "9000_trial.py").write_text(NEXT_MIGRATION.format(head=SCHEMA_REVISION))
    assert await upgrade(distributed.owner_url, scripts=scripts, target="9000") == (SCHEMA_REVISION, "9000")
    assert await superuser.fetchval("SELECT bool_and(trial = 'there') FROM funds.accounts")
    for node in nodes:
        connection = await asyncpg.connect(node.url)
        may = "SELECT has_column_privilege('funds_service', 'funds.accounts', 'trial', 'UPDATE')"
        assert await connection.fetchval(may)
        assert await connection.fetchval("SELECT to_regclass('funds_audit.trials') IS NOT NULL")
        assert await connection.fetchval("SELECT version_num FROM funds.alembic_version") == "9000"
        await connection.close()
