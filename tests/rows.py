"""Rows as someone outside the service writes them: plain SQL, on a connection of their own."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

MAIN = 1
"""The id of ledger ``main``."""

_AT = datetime(2026, 1, 1, tzinfo=UTC)


async def insert(connection: asyncpg.Connection, table: str, **columns: Any) -> None:
    """Add one row of ``columns`` to ``table`` of the schema."""
    names = ", ".join(columns)
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await connection.execute(f"INSERT INTO funds.{table} ({names}) VALUES ({places})", *columns.values())


async def add_ledger(connection: asyncpg.Connection, name: str) -> int:
    await insert(connection, "ledgers", name=name, created_at=_AT)
    return int(await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", name))


async def add_account(connection: asyncpg.Connection, **columns: Any) -> UUID:
    """Add an account in USD without bounds, unless ``columns`` say otherwise."""
    usual = {
        "ledger_id": MAIN,
        "id": uuid4(),
        "currency": "USD",
        "normal_side": "credit",
        "created_at": _AT,
        "updated_at": _AT,
    }
    row = usual | columns
    await insert(connection, "accounts", **row)
    return UUID(str(row["id"]))


async def add_accounts(connection: asyncpg.Connection, count: int, **columns: Any) -> list[UUID]:
    """Add ``count`` accounts of ``columns``; return their ids, rising."""
    return sorted([await add_account(connection, **columns) for _ in range(count)])


async def add_transfer(connection: asyncpg.Connection, debit: UUID, credit: UUID, **columns: Any) -> UUID:
    """Add a transfer of 1 USD that is the first of both accounts, unless ``columns`` say otherwise."""
    usual = {
        "ledger_id": MAIN,
        "id": uuid4(),
        "debit_account_id": debit,
        "credit_account_id": credit,
        "amount": 1,
        "currency": "USD",
        "debit_account_version": 1,
        "credit_account_version": 1,
        "debit_balance_after": -1,
        "credit_balance_after": 1,
        "metadata": "{}",
        "effective_at": _AT,
        "created_at": _AT,
    }
    row = usual | columns
    await insert(connection, "transfers", **row)
    return UUID(str(row["id"]))


async def add_decision(connection: asyncpg.Connection, idempotency_key: str, **columns: Any) -> None:
    """Add the refusal of a transfer of client ``client``, unless ``columns`` say otherwise."""
    usual = {
        "ledger_id": MAIN,
        "client_id": "client",
        "idempotency_key": idempotency_key,
        "fingerprint": b"",
        "operation": "post_transfer",
        "outcome": "rejected",
        "problem": '{"code": "account_frozen", "detail": "Frozen.", "members": {}}',
        "created_at": _AT,
    }
    await insert(connection, "decisions", **(usual | columns))
