"""The service on distributed tables: the whole life of a ledger, and which nodes its statements go to."""

import json
import re
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from service.proofs.keys import SignerKey
from service.storage.distribution import DISTRIBUTED_TABLES, REFERENCE_TABLES, distribute
from tests.distribution.test_statements import is_of_many
from tests.distribution.whole_life import whole_life
from tests.support.http_ledger import LedgerClient, unique
from tests.support.invariants import assert_ledger_is_sound
from tests.support.log import ORIGIN, serving_log
from tests.support.sent_statements import Sent, everything_sent
from tests.support.servers import TestDatabase

VERIFIED_AT_ONCE = {"verify_interval_seconds": 0.1, "verify_share": 1}


@pytest.fixture(scope="session")
def log_key() -> str:
    """Signs the logs, from the first one on."""
    return SignerKey.generate(ORIGIN).secret_text()


@pytest.fixture
async def client(distributed: TestDatabase, log_key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving_log(distributed, log_key=log_key, **VERIFIED_AT_ONCE) as application,
        application.client(application.settings.admin_token) as client,
    ):
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
