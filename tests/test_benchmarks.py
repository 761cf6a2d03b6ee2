"""The baselines of the benchmark work on today's schema: one that a migration has broken ends every run."""

import importlib
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.benchmarks.serving import DATABASE_URL
from tests.support.rows import add_accounts
from tests.support.servers import TestDatabase


@pytest.fixture
async def accounts(test_database: TestDatabase) -> list[UUID]:
    connection = await asyncpg.connect(test_database.superuser_url)
    made = await add_accounts(connection, 2, currency="USD")
    await connection.close()
    return made


async def test_the_textbook_posts_a_transfer_once(
    test_database: TestDatabase, accounts: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATABASE_URL, test_database.service_url)
    textbook = importlib.import_module("tests.benchmarks.textbook")
    debit, credit = map(str, accounts)
    body = {"debit_account_id": debit, "credit_account_id": credit, "amount": 5, "currency": "USD"}
    carrier = httpx.ASGITransport(app=textbook.create_app())
    async with httpx.AsyncClient(transport=carrier, base_url="http://funds") as client:
        first, again = [
            await client.post("/v1/ledgers/main/transfers", json=body, headers={"Idempotency-Key": "one"})
            for _ in range(2)
        ]
    await textbook.engine.dispose()
    assert first.status_code == 201, first.text
    assert (first.json()["amount"], again.json()) == (5, first.json())
