"""The constraints of the database: what each one refuses, and what it accepts."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.storage import constraints
from service.storage.rows import SCHEMA, Base
from service.storage.schema import VERSION_TABLE
from tests.support.rows import MAIN, add_account, add_decision, add_ledger, add_transfer, insert
from tests.support.servers import TestDatabase

INT64_MAX = 2**63 - 1
DECLARED = {value for name, value in vars(constraints).items() if name.isupper()}

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER, EXPIRY = AT + timedelta(hours=1), AT + timedelta(days=1)
A, B, EUROS, NOBODY, FRESH = (UUID(int=number) for number in (1, 2, 3, 8, 9))
ONE, TWO = UUID(int=1), UUID(int=2)

Changes = dict[str, Any]

# What a copy of a table's first row must change to be a good row beside it.
NEXT_ROW: dict[str, Changes] = {
    "ledgers": {"id": 99, "name": "fresh"},
    "ledger_heads": {"ledger_id": 99},
    "accounts": {"id": FRESH, "reference": "fresh"},
    "transfers": {"id": FRESH, "debit_account_version": 9, "credit_account_version": 9},
    "holds": {"id": FRESH},
    "reversed_transfers": {"transfer_id": TWO},
    "decisions": {"idempotency_key": "fresh"},
    "history": {"id": FRESH},
    "log_tiles": {"index": 1},
    "log_checkpoints": {"size": 2},
    "log_cosignatures": {"witness": "other"},
    "tokens": {"id": FRESH, "token_hash": b"fresh"},
    "token_uses": {"day": date(2026, 1, 2)},
    "verifications": {"ledger_id": 99},
}

DEBIT_SIDE: Changes = {"normal_side": "debit"}
CLOSED: Changes = {"status": "closed"}
CLOSED_HOLD: Changes = {
    "closed_at": LATER,
    "closed_debit_account_version": 3,
    "closed_credit_account_version": 3,
}
CAPTURED = CLOSED_HOLD | {"status": "captured", "captured_amount": 10}
VOIDED = CLOSED_HOLD | {"status": "voided"}
APPLIED: Changes = {"outcome": "applied", "problem": None}

REFUSED: list[tuple[str, str, Changes]] = [
    (constraints.PK_LEDGERS, "ledgers", {"id": MAIN}),
    (constraints.UQ_LEDGERS_NAME, "ledgers", {"name": "main"}),
    (constraints.CK_LEDGERS_ID_POSITIVE, "ledgers", {"id": 0}),
    (constraints.CK_LEDGERS_ID_POSITIVE, "ledgers", {"id": -1}),
    (constraints.PK_LEDGER_HEADS, "ledger_heads", {"ledger_id": 0}),
    (constraints.CK_LEDGER_HEADS_LEDGER, "ledger_heads", {"ledger_id": -1}),
    (constraints.CK_LEDGER_HEADS_PERIOD, "ledger_heads", {"closed_until": AT}),
    (constraints.CK_LEDGER_HEADS_PERIOD, "ledger_heads", {"late_entries": "reject"}),
    (constraints.CK_LEDGER_HEADS_PERIOD, "ledger_heads", {"closed_until": AT, "late_entries": "maybe"}),
    (constraints.PK_ACCOUNTS, "accounts", {"id": A}),
    (constraints.UQ_ACCOUNTS_REFERENCE, "accounts", {"reference": "first"}),
    (constraints.FK_ACCOUNTS_LEDGER, "accounts", {"ledger_id": 98}),
    (constraints.CK_ACCOUNTS_NORMAL_SIDE, "accounts", {"normal_side": "left"}),
    (constraints.CK_ACCOUNTS_STATUS, "accounts", {"status": "gone"}),
    *(
        (constraints.CK_ACCOUNTS_COUNTERS, "accounts", {counter: -1})
        for counter in ("debits_posted", "credits_posted", "debits_held", "credits_held", "version")
    ),
    (constraints.CK_ACCOUNTS_COUNTERS, "accounts", {"debits_posted": INT64_MAX, "debits_held": 1}),
    (constraints.CK_ACCOUNTS_COUNTERS, "accounts", {"credits_posted": 1, "credits_held": INT64_MAX}),
    (constraints.CK_ACCOUNTS_MINIMUM_BALANCE, "accounts", {"minimum_balance": 1}),
    (constraints.CK_ACCOUNTS_MINIMUM_BALANCE, "accounts", {"minimum_balance": 0, "debits_posted": 1}),
    (constraints.CK_ACCOUNTS_MINIMUM_BALANCE, "accounts", {"minimum_balance": 0, "debits_held": 1}),
    (
        constraints.CK_ACCOUNTS_MINIMUM_BALANCE,
        "accounts",
        {"minimum_balance": 0, "credits_posted": 5, "debits_posted": 3, "debits_held": 3},
    ),
    (constraints.CK_ACCOUNTS_MINIMUM_BALANCE, "accounts", DEBIT_SIDE | {"minimum_balance": 0, "credits_posted": 1}),
    (constraints.CK_ACCOUNTS_MINIMUM_BALANCE, "accounts", DEBIT_SIDE | {"minimum_balance": 0, "credits_held": 1}),
    (constraints.CK_ACCOUNTS_MAXIMUM_BALANCE, "accounts", {"maximum_balance": -1}),
    (constraints.CK_ACCOUNTS_MAXIMUM_BALANCE, "accounts", {"maximum_balance": 4, "credits_posted": 5}),
    (constraints.CK_ACCOUNTS_MAXIMUM_BALANCE, "accounts", DEBIT_SIDE | {"maximum_balance": 4, "debits_posted": 5}),
    (constraints.CK_ACCOUNTS_CLOSED_EMPTY, "accounts", CLOSED | {"credits_posted": 1}),
    (constraints.CK_ACCOUNTS_CLOSED_EMPTY, "accounts", CLOSED | {"debits_posted": 1}),
    (constraints.CK_ACCOUNTS_CLOSED_EMPTY, "accounts", CLOSED | {"debits_held": 1}),
    (constraints.CK_ACCOUNTS_CLOSED_EMPTY, "accounts", CLOSED | {"credits_held": 1}),
    (constraints.PK_TRANSFERS, "transfers", {"id": ONE}),
    (constraints.UQ_TRANSFERS_DEBIT_VERSION, "transfers", {"debit_account_version": 1}),
    (constraints.UQ_TRANSFERS_CREDIT_VERSION, "transfers", {"credit_account_version": 1}),
    (constraints.FK_TRANSFERS_HOLD, "transfers", {"hold_id": NOBODY}),
    (constraints.CK_TRANSFERS_AMOUNT, "transfers", {"amount": 0}),
    (constraints.CK_TRANSFERS_AMOUNT, "transfers", {"amount": -1}),
    (constraints.CK_TRANSFERS_ACCOUNTS, "transfers", {"credit_account_id": A}),
    (constraints.CK_TRANSFERS_VERSIONS, "transfers", {"debit_account_version": 0}),
    (constraints.CK_TRANSFERS_VERSIONS, "transfers", {"credit_account_version": 0}),
    (constraints.PK_HOLDS, "holds", {"id": ONE}),
    (constraints.FK_HOLDS_DEBIT_ACCOUNT, "holds", {"debit_account_id": NOBODY}),
    (constraints.FK_HOLDS_DEBIT_ACCOUNT, "holds", {"debit_account_id": EUROS}),
    (constraints.FK_HOLDS_CREDIT_ACCOUNT, "holds", {"credit_account_id": NOBODY}),
    (constraints.FK_HOLDS_CREDIT_ACCOUNT, "holds", {"credit_account_id": EUROS}),
    (constraints.CK_HOLDS_AMOUNT, "holds", {"amount": 0}),
    (constraints.CK_HOLDS_ACCOUNTS, "holds", {"credit_account_id": A}),
    (constraints.CK_HOLDS_STATUS, "holds", VOIDED | {"status": "gone"}),
    *((constraints.CK_HOLDS_CLOSED, "holds", {name: value}) for name, value in CLOSED_HOLD.items()),
    *((constraints.CK_HOLDS_CLOSED, "holds", VOIDED | {name: None}) for name in CLOSED_HOLD),
    (constraints.CK_HOLDS_CAPTURED, "holds", {"captured_amount": -1}),
    (constraints.CK_HOLDS_CAPTURED, "holds", {"captured_amount": 10}),
    (constraints.CK_HOLDS_CAPTURED, "holds", CAPTURED | {"captured_amount": 11}),
    (constraints.CK_HOLDS_CAPTURED, "holds", CAPTURED | {"captured_amount": 0}),
    (constraints.CK_HOLDS_CAPTURED, "holds", VOIDED | {"captured_amount": 10}),
    (constraints.CK_HOLDS_EXPIRY, "holds", {"expires_at": AT}),
    (constraints.CK_HOLDS_EXPIRY, "holds", CAPTURED | {"closed_at": EXPIRY}),
    (constraints.PK_REVERSED_TRANSFERS, "reversed_transfers", {"transfer_id": ONE}),
    (constraints.FK_REVERSED_TRANSFERS_TRANSFER, "reversed_transfers", {"transfer_id": NOBODY}),
    (constraints.CK_REVERSED_TRANSFERS_AMOUNT, "reversed_transfers", {"reversed_amount": 0}),
    (constraints.CK_REVERSED_TRANSFERS_AMOUNT, "reversed_transfers", {"reversed_amount": 6}),
    (constraints.PK_DECISIONS, "decisions", {"idempotency_key": "key"}),
    (constraints.CK_DECISIONS_OUTCOME, "decisions", APPLIED | {"outcome": "perhaps"}),
    (constraints.CK_DECISIONS_ANSWER, "decisions", {"problem": None}),
    (constraints.CK_DECISIONS_ANSWER, "decisions", {"outcome": "applied"}),
    (constraints.CK_DECISIONS_ANSWER, "decisions", {"outcome": "fenced"}),
    (constraints.PK_HISTORY, "history", {"id": ONE}),
    (constraints.PK_LOG_TILES, "log_tiles", {"index": 0}),
    (constraints.CK_LOG_TILES_ROOT, "log_tiles", {"root": bytes(31)}),
    (constraints.CK_LOG_TILES_LEAVES, "log_tiles", {"hashes": bytes(8191)}),
    (constraints.CK_LOG_TILES_LEAVES, "log_tiles", {"hashes": None}),
    (constraints.CK_LOG_TILES_LEAVES, "log_tiles", {"entry_ids": [ONE]}),
    (constraints.CK_LOG_TILES_LEAVES, "log_tiles", {"first_entry_id": TWO}),
    (constraints.CK_LOG_TILES_LEAVES, "log_tiles", {"level": 1}),
    (constraints.PK_LOG_CHECKPOINTS, "log_checkpoints", {"size": 1}),
    (constraints.CK_LOG_CHECKPOINTS_SIZE, "log_checkpoints", {"size": 0}),
    (constraints.CK_LOG_CHECKPOINTS_ROOT, "log_checkpoints", {"root": bytes(33)}),
    (constraints.PK_LOG_COSIGNATURES, "log_cosignatures", {"witness": "witness"}),
    (constraints.FK_LOG_COSIGNATURES_CHECKPOINT, "log_cosignatures", {"size": 9}),
    (constraints.PK_TOKENS, "tokens", {"id": ONE}),
    (constraints.UQ_TOKENS_HASH, "tokens", {"token_hash": b"hash"}),
    (constraints.CK_TOKENS_DEBIT_LIMIT, "tokens", {"debit_codes": ["1000"], "scopes": ["accounts:write"]}),
    (constraints.PK_TOKEN_USES, "token_uses", {"day": date(2026, 1, 1)}),
    (constraints.FK_TOKEN_USES_TOKEN, "token_uses", {"token_id": TWO}),
    (constraints.CK_TOKEN_USES_REQUESTS, "token_uses", {"requests": 0}),
    (constraints.PK_VERIFICATIONS, "verifications", {"ledger_id": MAIN}),
]

PASSED: list[tuple[str, Changes]] = [
    *((table, {}) for table in NEXT_ROW),
    ("accounts", {"reference": None}),
    ("accounts", {"ledger_id": 2, "id": A, "reference": "first"}),
    ("accounts", {"minimum_balance": 0, "credits_posted": 5, "debits_posted": 3, "debits_held": 2, "credits_held": 9}),
    ("accounts", {"maximum_balance": 5, "credits_posted": 5, "credits_held": 9}),
    ("accounts", DEBIT_SIDE | {"minimum_balance": 0, "debits_posted": 5, "credits_posted": 3, "credits_held": 2}),
    ("accounts", CLOSED | {"credits_posted": 7, "debits_posted": 7}),
    ("accounts", {"debits_posted": INT64_MAX - 1, "debits_held": 1, "minimum_balance": -INT64_MAX}),
    ("accounts", {"credits_posted": INT64_MAX, "minimum_balance": INT64_MAX, "maximum_balance": INT64_MAX}),
    ("transfers", {"debit_account_id": B, "credit_account_id": A, "amount": INT64_MAX, "hold_id": ONE}),
    ("holds", {"captured_amount": 9}),
    ("holds", CAPTURED),
    ("holds", CAPTURED | {"captured_amount": 1}),
    ("holds", VOIDED | {"captured_amount": 9}),
    ("holds", VOIDED | {"status": "expired", "closed_at": EXPIRY}),
    ("reversed_transfers", {"reversed_amount": 5}),
    ("decisions", APPLIED),
    ("decisions", APPLIED | {"outcome": "fenced"}),
    ("decisions", {"idempotency_key": "key", "client_id": "other"}),
    ("decisions", {"idempotency_key": "key", "ledger_id": 2}),
    ("log_tiles", {"level": 1, "hashes": None, "entry_ids": None, "first_entry_id": None}),
]

# What others point at can neither go nor become something else.
POINTED_AT = [
    (constraints.FK_ACCOUNTS_LEDGER, "DELETE FROM ledgers WHERE id = 1"),
    (constraints.FK_HOLDS_DEBIT_ACCOUNT, f"UPDATE accounts SET currency = 'EUR' WHERE id = '{A}'"),
    (constraints.FK_HOLDS_CREDIT_ACCOUNT, f"DELETE FROM accounts WHERE id = '{B}'"),
    (constraints.FK_TRANSFERS_HOLD, f"UPDATE transfers SET hold_id = '{ONE}' WHERE id = '{TWO}'; DELETE FROM holds"),
    (constraints.FK_LOG_COSIGNATURES_CHECKPOINT, "DELETE FROM log_checkpoints"),
    (constraints.FK_REVERSED_TRANSFERS_TRANSFER, f"DELETE FROM transfers WHERE id = '{ONE}'"),
]


@pytest.fixture(scope="module")
async def stored_rows(shared_database: TestDatabase) -> TestDatabase:
    """A first row in every table."""
    superuser = await asyncpg.connect(shared_database.superuser_url)
    await add_ledger(superuser, "other")
    await add_account(superuser, id=A, reference="first")
    await add_account(superuser, id=B)
    await add_account(superuser, id=EUROS, currency="EUR")
    await add_transfer(superuser, A, B, id=ONE)
    await add_transfer(superuser, A, B, id=TWO, debit_account_version=2, credit_account_version=2)
    hold = {"debit_account_id": A, "credit_account_id": B, "amount": 10, "currency": "USD", "expires_at": EXPIRY}
    versions = {"debit_account_version": 2, "credit_account_version": 2}
    author = {"client_id": "client", "idempotency_key": "key"}
    await insert(superuser, "holds", ledger_id=MAIN, id=ONE, created_at=AT, metadata="{}", **hold, **versions, **author)
    await insert(superuser, "reversed_transfers", ledger_id=MAIN, transfer_id=ONE, amount=5, reversed_amount=1)
    await add_decision(superuser, "key")
    await superuser.execute("DELETE FROM funds.history")
    await insert(superuser, "history", ledger_id=MAIN, id=ONE, type="key.fenced", data="{}", created_at=AT)
    leaves = {"first_entry_id": ONE, "entry_ids": [ONE] * 256, "hashes": bytes(8192)}
    await insert(superuser, "log_tiles", ledger_id=MAIN, level=0, index=0, root=bytes(32), **leaves)
    await insert(superuser, "log_checkpoints", ledger_id=MAIN, size=1, root=bytes(32), last_entry_id=ONE, note="note")
    await insert(superuser, "log_cosignatures", ledger_id=MAIN, size=1, witness="witness", signature="signature")
    await insert(superuser, "tokens", id=ONE, client="client", token_hash=b"hash", scopes=["read"])
    await insert(superuser, "token_uses", token_id=ONE, day=date(2026, 1, 1), requests=1, last_used_at=AT)
    await insert(superuser, "verifications", ledger_id=MAIN, damaged=False)
    await superuser.close()
    return shared_database


@pytest.fixture
async def superuser(stored_rows: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, which only constraints stop, in a transaction that is never committed."""
    connection = await asyncpg.connect(stored_rows.superuser_url)
    await connection.execute(f"SET search_path = {SCHEMA}; BEGIN")
    yield connection
    await connection.close()


async def add_next_row(superuser: asyncpg.Connection, table: str, changes: Changes) -> None:
    first = await superuser.fetchrow(f"SELECT * FROM {table} ORDER BY ctid LIMIT 1")
    assert first is not None
    computed = {column.name for column in Base.metadata.tables[f"{SCHEMA}.{table}"].c if column.computed is not None}
    kept = {name: value for name, value in first.items() if name not in computed}
    await insert(superuser, table, **(kept | NEXT_ROW[table] | changes))


async def test_every_constraint_has_its_name(superuser: asyncpg.Connection) -> None:
    """Translation and tests refer to constraints by these names: none may be missing on either side."""
    rows = await superuser.fetch(
        "SELECT conname FROM pg_constraint WHERE connamespace = $1::regnamespace AND contype <> 'n'"
        " AND conrelid <> $2::regclass",
        SCHEMA,
        f"{SCHEMA}.{VERSION_TABLE}",
    )
    assert {row["conname"] for row in rows} == DECLARED


def test_every_constraint_is_tried() -> None:
    assert {name for name, _, _ in REFUSED} | {constraints.UQ_ACCOUNTS_CURRENCY} == DECLARED


@pytest.mark.parametrize(("constraint", "table", "changes"), REFUSED)
async def test_what_is_refused(superuser: asyncpg.Connection, constraint: str, table: str, changes: Changes) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await add_next_row(superuser, table, changes)
    assert caught.value.constraint_name == constraint


@pytest.mark.parametrize(("table", "changes"), PASSED)
async def test_what_is_let_pass(superuser: asyncpg.Connection, table: str, changes: Changes) -> None:
    """Values at the very edge: what is refused above is refused for its own reason."""
    await add_next_row(superuser, table, changes)


@pytest.mark.parametrize(("constraint", "statement"), POINTED_AT)
async def test_what_is_pointed_at_stays(superuser: asyncpg.Connection, constraint: str, statement: str) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
        await superuser.execute(statement)
    assert caught.value.constraint_name == constraint


async def test_an_account_has_one_currency(superuser: asyncpg.Connection) -> None:
    """What foreign keys point at to prove it; the primary key stands before it."""
    await superuser.execute(f"ALTER TABLE accounts DROP CONSTRAINT {constraints.PK_ACCOUNTS}")
    with pytest.raises(asyncpg.UniqueViolationError) as caught:
        await add_next_row(superuser, "accounts", {"id": A})
    assert caught.value.constraint_name == constraints.UQ_ACCOUNTS_CURRENCY
