"""Rows encoded here are the rows that PostgreSQL reads."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs

from service.domain.decisions import FENCED, Decision
from service.domain.holds import Hold
from service.domain.rejections import AlreadyReversed
from service.domain.transfers import Transfer
from service.storage.group_commit.binary_copy import BEGIN, DECISION_COLUMNS, END, encode_decision, encode_transfer
from service.storage.group_commit.statements import TRANSFER_COLUMNS

INT64_MAX = 2**63 - 1
AT = datetime(2026, 11, 24, 17, 30, 1, 999_999, tzinfo=UTC)
TEXTS = "\U0001f3e6 ünïcode \\ \t\n \"'"

PLAIN = Transfer(
    ledger_id=1,
    id=uuid4(),
    debit_account_id=uuid4(),
    credit_account_id=uuid4(),
    amount=1,
    currency="USD",
    debit_account_version=1,
    credit_account_version=2,
    debit_balance_after=-3,
    credit_balance_after=4,
    effective_at=AT,
    created_at=AT,
    client_id="client",
    idempotency_key="key",
)
LINK = UUID(int=2**128 - 1)
HOLD = Hold(
    ledger_id=1,
    id=uuid4(),
    debit_account_id=PLAIN.debit_account_id,
    credit_account_id=PLAIN.credit_account_id,
    amount=1,
    currency="USD",
    expires_at=AT,
    debit_account_version=1,
    credit_account_version=1,
    created_at=AT,
    client_id="client",
    idempotency_key="held",
)
REJECTION = AlreadyReversed(LINK, INT64_MAX, detail=TEXTS)
PROBLEM = {
    "code": "already_reversed",
    "detail": TEXTS,
    "members": {"transfer_id": str(LINK), "reversed_amount": INT64_MAX},
}
APPLIED = Decision(
    ledger_id=1,
    client_id="client",
    idempotency_key="key",
    fingerprint=bytes(range(16)),
    operation="post_transfer",
    result=PLAIN,
    created_at=AT,
)


async def stored(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], rows: Sequence[bytes]
) -> list[dict[str, Any]]:
    """What PostgreSQL has of ``rows`` after COPY, json as Python's."""
    await connection.execute(f"CREATE TEMP TABLE copied (LIKE funds.{table}) ON COMMIT PRESERVE ROWS")
    source = memoryview(BEGIN + b"".join(rows) + END)
    await connection.copy_to_table("copied", columns=columns, format="binary", source=source)
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    return [dict(row) for row in await connection.fetch("SELECT * FROM copied")]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amount": INT64_MAX, "debit_balance_after": -INT64_MAX, "credit_balance_after": INT64_MAX},
        {"debit_account_version": INT64_MAX, "credit_account_version": INT64_MAX, "ledger_id": 2**31 - 1},
        {"hold_id": LINK},
        {"reverses_id": LINK},
        {"group_id": LINK},
        {"hold_id": LINK, "reverses_id": UUID(int=0), "group_id": LINK},
        {"reference": ""},
        {"description": TEXTS},
        {"reference": TEXTS, "description": "d" * 10_000},
        {"metadata": {"": "", TEXTS: TEXTS}},
        {"effective_at": datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)},
        {"effective_at": datetime(1, 1, 1, tzinfo=UTC), "created_at": datetime(9999, 12, 31, tzinfo=UTC)},
        {"currency": "JPY"},
    ],
)
async def test_a_transfer(superuser: asyncpg.Connection, changes: dict[str, Any]) -> None:
    transfer = structs.replace(PLAIN, **changes)
    [row] = await stored(superuser, "transfers", TRANSFER_COLUMNS, [encode_transfer(transfer)])
    assert row == structs.asdict(transfer)


async def test_many_transfers_keep_their_order(superuser: asyncpg.Connection) -> None:
    transfers = [structs.replace(PLAIN, id=uuid4(), created_at=AT + timedelta(seconds=n)) for n in range(100)]
    rows = await stored(superuser, "transfers", TRANSFER_COLUMNS, list(map(encode_transfer, transfers)))
    assert rows == [structs.asdict(transfer) for transfer in transfers]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"outcome": "applied", "resource_id": PLAIN.id}),
        ({"result": HOLD, "operation": "open_hold"}, {"outcome": "applied", "resource_id": HOLD.id}),
        ({"result": FENCED, "operation": "fence_key"}, {"outcome": "fenced"}),
        (
            {"result": REJECTION, "terms": {"amount": 7, "at": AT}, "debit_account_id": LINK},
            {
                "outcome": "rejected",
                "problem": PROBLEM,
                "terms": {"amount": 7, "at": "2026-11-24T17:30:01.999999Z"},
                "debit_account_id": LINK,
            },
        ),
        (
            {"result": REJECTION, "terms": {}, "credit_account_id": LINK, "idempotency_key": "~" * 255},
            {"outcome": "rejected", "problem": PROBLEM, "terms": {}, "credit_account_id": LINK},
        ),
        ({"client_id": TEXTS}, {"outcome": "applied", "resource_id": PLAIN.id}),
    ],
)
async def test_a_decision(superuser: asyncpg.Connection, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    decision = structs.replace(APPLIED, **changes)
    [row] = await stored(superuser, "decisions", DECISION_COLUMNS, [encode_decision(decision)])
    given = {name: getattr(decision, name) for name in ("ledger_id", "client_id", "idempotency_key", "fingerprint")}
    nothing = dict.fromkeys(("resource_id", "resource", "problem", "terms", "debit_account_id", "credit_account_id"))
    assert row == given | nothing | {"operation": decision.operation, "created_at": AT} | expected
