"""Fingerprints as requests leave them in the database: those that stood there on 2026-11-26 come out the same."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, item, keyed, transfer, unique
from tests.support.rows import add_account

A, B = {"id": str(UUID(int=0xA))}, {"id": str(UUID(int=0xB))}
FULL: JSON = {"reference": "r", "description": "d", "metadata": {"b": "2", "a": "1"}}
TIME = "2026-11-26T13:30:00.25+01:00"

BATCH = [
    item(A, B, "alone"),
    item(A, B, "first", group="g", **FULL),
    item(B, A, "second", group="g", amount={"at_most": 5}, effective_at=TIME),
    item(A, B, "third", group="g", hold={"expires_in_seconds": 60}),
]
ATOMIC = [item(A, B, "one"), item(B, A, "two", hold={"expires_at": TIME})]

STORED = {
    "account": "efaf41d9ddca21a41c6e597c7ccc1ce1",
    "alone": "45e3d87bd2f3f0186fb9f88a3a6aa0e3",
    "fenced": "e8225b52ded9876df435842fd12cb028",
    "first": "47ebd5b4af6ff877326cd5ed7b6fbaba",
    "hold": "459e614d8126f035bc4e8b38379b3c19",
    "hold-until": "a3ba935b8a13bfd59e3713e206b9b4c4",
    "least": "45e3d87bd2f3f0186fb9f88a3a6aa0e3",
    "most": "35cb94e23490153f21d8cf327b316608",
    "one": "98ebaa89eb6cb1f37adaee1010e2c6da",
    "second": "3161bea52bd62aac869f54a332e9743f",
    "third": "59961fcf20aaa76a6d6b9b2a2e3a4870",
    "two": "4de5872af4ccc95c48fde11cbfeb9968",
}


@pytest.fixture
async def ledger(application: Application, client: Any) -> LedgerClient:
    """A ledger with two accounts of known names."""
    ledger = await LedgerClient.open(client, unique("ledger"))
    connection = await asyncpg.connect(application.database.superuser_url)
    try:
        ledger_id = await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", ledger.name)
        for account in (A, B):
            await add_account(connection, ledger_id=ledger_id, id=UUID(account["id"]))
    finally:
        await connection.close()
    return ledger


@pytest.fixture
async def connection(application: Application) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(application.database.superuser_url)
    yield connection
    await connection.close()


async def test_requests_of_today(ledger: LedgerClient, connection: asyncpg.Connection) -> None:
    account = {"currency": "USD", "metadata": {"b": "2", "a": "1"}, "minimum_balance": 0}
    await ledger.client.post(ledger.accounts, json=account, headers=keyed("account"))
    await ledger.post(A, B, "least")
    await ledger.post(A, B, "most", amount={"at_most": 5}, effective_at=TIME, **FULL)
    holds = f"{ledger.path}/holds"
    await ledger.client.post(holds, json=transfer(A, B), headers=keyed("hold"))
    await ledger.client.post(holds, json=transfer(A, B, expires_at=TIME, **FULL), headers=keyed("hold-until"))
    await ledger.client.post(f"{ledger.path}/idempotency-keys/fenced/fence")
    assert (await ledger.batch(*BATCH)).status_code < 300
    await ledger.batch(*ATOMIC, mode="atomic")

    rows = await connection.fetch(
        "SELECT idempotency_key, fingerprint FROM funds.decisions JOIN funds.ledgers ON id = ledger_id WHERE name = $1",
        ledger.name,
    )
    assert {row["idempotency_key"]: row["fingerprint"].hex() for row in rows} == STORED
