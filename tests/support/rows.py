"""Rows that are written without the service: with plain SQL, on a connection of the test."""

import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from service.domain.identifiers import ENTROPY_BITS, identifier

MAIN = 1
"""The id of ledger ``main``."""

_AT = datetime(2026, 1, 1, tzinfo=UTC)

PROBLEM = f'{{"code": "account_frozen", "detail": "Frozen.", "members": {{"account_id": "{UUID(int=0)}"}}}}'
"""What is stored of a rejection."""


async def insert(connection: asyncpg.Connection, table: str, **columns: Any) -> None:
    """Add one row of ``columns`` to ``table`` of the schema."""
    names = ", ".join(columns)
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await connection.execute(f"INSERT INTO funds.{table} ({names}) VALUES ({places})", *columns.values())


async def add_ledger(connection: asyncpg.Connection, name: str) -> int:
    """Add a ledger whose order ends now."""
    await insert(connection, "ledgers", name=name, created_at=_AT)
    return int(
        await connection.fetchval(
            "INSERT INTO funds.ledger_heads (ledger_id, last_at)"
            " SELECT id, clock_timestamp() FROM funds.ledgers WHERE name = $1 RETURNING ledger_id",
            name,
        )
    )


async def add_created_ledger(connection: asyncpg.Connection, name: str) -> int:
    """Add a ledger with the entries of its creation that a migration made of one that was there before them."""
    ledger_id = await add_ledger(connection, name)
    await connection.execute(
        "INSERT INTO funds.history (ledger_id, id, type, data, created_at)"
        " SELECT history.id, $3, 'ledger.created', json_build_object('description', null, 'name', $2::text), $4"
        " FROM (VALUES (0), ($1::integer)) AS history (id)",
        ledger_id,
        name,
        identifier(_AT, 0, secrets.randbits(ENTROPY_BITS)),
        _AT,
    )
    return ledger_id


async def set_head_ahead(connection: asyncpg.Connection, seconds: float, ledger_id: int = MAIN) -> datetime:
    """Set the end of a ledger's order ``seconds`` ahead of the clock, as a clock does that is set back; return it."""
    last_at: datetime = await connection.fetchval(
        "UPDATE funds.ledger_heads SET last_at = clock_timestamp() + $2 * interval '1 second' WHERE ledger_id = $1"
        " RETURNING last_at",
        ledger_id,
        seconds,
    )
    return last_at


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
        "client_id": "client",
        "idempotency_key": "key",
    }
    row = usual | columns
    await insert(connection, "transfers", **row)
    return UUID(str(row["id"]))


async def add_decision(connection: asyncpg.Connection, idempotency_key: str, **columns: Any) -> None:
    """Add the rejection of a transfer of client ``client``, unless ``columns`` say otherwise."""
    usual = {
        "ledger_id": MAIN,
        "client_id": "client",
        "idempotency_key": idempotency_key,
        "fingerprint": b"",
        "operation": "post_transfer",
        "outcome": "rejected",
        "problem": PROBLEM,
        "created_at": _AT,
    }
    await insert(connection, "decisions", **(usual | columns))
