"""A ledger of a million transfers, made by the database itself in a few seconds."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from service.domain.identifiers import identifier
from tests.support.rows import MAIN

TRANSFERS = 1_000_000
ACCOUNTS = 100_000
HOLDS = 200_000
REFUSALS = 200_000
REVISIONS = 200_000
CLOSINGS = 1_000
"""Closings are a second apart too, and a microsecond after the revision of that second."""
LEDGERS = 5_000
DATED_APART = 1_000
"""Every so many transfers are one of the busy account that is dated back: to half of the time since the start."""
LATEST_ACCOUNTS_FROZEN = 1_000
"""These and the first five are frozen; none of them is in EUR but the very first."""

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def at(number: int) -> datetime:
    """When number ``number`` of any kind came: they are a second apart."""
    return START + number * SECOND


def id_of(number: int) -> UUID:
    """The identifier of number ``number`` of any kind."""
    return identifier(at(number), 0, 0)


BUSY, QUIET = id_of(1), id_of(77)
"""An account that is in every second transfer, hold and rejection, and one that is in about ten of each. Of the
revisions, half are of the one, and one or two of the other.
"""

CAPTURED, REVERSED = id_of(1), id_of(1)
"""A hold with 100,000 captures, and a transfer with 100,000 reversals."""

COMMON, ELSEWHERE, RARE, ABSENT = "common", "elsewhere", "rare", "absent"
"""References of transfers: of every third; of a sixth, none of them the busy account's, a capture or a reversal; of
the first eleven; of none.
"""

CROWD, FEW = "2000:customers", "1000:cash"
"""Codes of accounts: of 60,000, with one behind it for each of 10,000 more, and 10,000 that begin alike and are not
behind it; of twenty.
"""

_PROBLEM = (
    '{"code": "insufficient_funds", "detail": "Account 019b76da-abe8-7000-8000-000000000000 has 30 available and a'
    ' minimum of -5.", "members": {"account_id": "019b76da-abe8-7000-8000-000000000000", "balance": 100, "held": 70,'
    ' "available_balance": 30, "minimum_balance": -5, "amount": 1000, "shortfall": 965}}'
)
"""What is stored of a rejection."""
_CLOSED = '{"closed_until":"2026-01-01T00:00:00Z","late_entries":"reject","reason":null}'
_REVISED = '{"after":{"minimum_balance":-500},"before":{"minimum_balance":0}}'

_ID = "(lpad(to_hex(1767225600000 + ({n}) * 1000::bigint), 12, '0') || '70008000000000000000')::uuid"
_AT = "'2026-01-01Z'::timestamptz + ({n}) * interval '1 second'"


def identifier_of(number: str) -> str:
    """The SQL that makes the identifier of ``number``, an expression, as ``id_of`` does."""
    return _ID.format(n=number)


def _at(number: str) -> str:
    return _AT.format(n=number)


# All but the busy account take turns.
_DEBIT, _CREDIT = "2 + n % 99999", "2 + (n + 50000) % 99999"

FILL = (
    f"""
    INSERT INTO funds.ledgers (name, created_at)
    SELECT 'ledger-' || n, {_at("n")} FROM generate_series(1, {LEDGERS}) AS n
    """,
    f"""
    INSERT INTO funds.accounts (ledger_id, id, reference, code, currency, normal_side, status, version,
                                created_at, updated_at)
    SELECT {MAIN}, {identifier_of("n")}, 'account ' || n,
           CASE WHEN n % 10 < 6 THEN '{CROWD}' WHEN n % 10 = 6 THEN '{CROWD}:' || n
                WHEN n % 10 = 7 THEN '{CROWD}-' || n WHEN n < 100 THEN '{FEW}' END,
           CASE WHEN n = 1 OR n % 3 = 0 AND n BETWEEN 6 AND 99000 THEN 'EUR' ELSE 'USD' END,
           'credit', CASE WHEN n <= 5 OR n > {ACCOUNTS - LATEST_ACCOUNTS_FROZEN} THEN 'frozen' ELSE 'open' END,
           {TRANSFERS}, {_at("n")}, {_at(str(TRANSFERS))}
    FROM generate_series(1, {ACCOUNTS}) AS n
    """,
    # The first three expired; the last ones are open, of which the first five are past their time.
    f"""
    INSERT INTO funds.holds (ledger_id, id, debit_account_id, credit_account_id, amount, captured_amount, currency,
                             status, expires_at, debit_account_version, credit_account_version,
                             closed_debit_account_version, closed_credit_account_version, metadata, created_at,
                             closed_at, client_id, idempotency_key)
    SELECT {MAIN}, {identifier_of("n")},
           CASE WHEN n % 4 = 0 THEN {identifier_of("1")} ELSE {identifier_of(_DEBIT)} END,
           CASE WHEN n % 4 = 2 THEN {identifier_of("1")} ELSE {identifier_of(_CREDIT)} END,
           10, CASE status WHEN 'captured' THEN 10 ELSE 0 END, 'USD', status,
           CASE WHEN n BETWEEN 180001 AND 180005 THEN {_at("n + 1")} ELSE '9000-01-01Z' END, n, n,
           CASE status WHEN 'open' THEN NULL ELSE n END, CASE status WHEN 'open' THEN NULL ELSE n END,
           '{{}}', {_at("n")}, CASE status WHEN 'open' THEN NULL ELSE {_at("n + 1")} END,
           'client', 'hold ' || n
    FROM generate_series(1, {HOLDS}) AS n,
         LATERAL (SELECT CASE WHEN n <= 4 THEN 'expired' WHEN n > 180000 THEN 'open'
                              WHEN n % 5 < 3 THEN 'captured' ELSE 'voided' END AS status) AS state
    """,
    f"""
    INSERT INTO funds.transfers (ledger_id, id, debit_account_id, credit_account_id, amount, currency,
                                 debit_account_version, credit_account_version, debit_balance_after,
                                 credit_balance_after, hold_id, reverses_id, reference, metadata, effective_at,
                                 created_at, client_id, idempotency_key)
    SELECT {MAIN}, {identifier_of("n")},
           CASE WHEN n % 4 = 0 THEN {identifier_of("1")} ELSE {identifier_of(_DEBIT)} END,
           CASE WHEN n % 4 = 2 THEN {identifier_of("1")} ELSE {identifier_of(_CREDIT)} END,
           1, 'USD', n, n, 0, 0,
           CASE WHEN n % 10 = 0 THEN {identifier_of("1")} END, CASE WHEN n % 10 = 5 THEN {identifier_of("1")} END,
           CASE WHEN n <= 11 THEN '{RARE}' WHEN n % 3 = 0 THEN '{COMMON}'
                WHEN n % 6 = 1 AND n % 10 <> 5 THEN '{ELSEWHERE}' WHEN n % 6 = 2 THEN 'reference ' || n END,
           '{{}}', CASE WHEN n % {DATED_APART} = 4 THEN {_at("n / 2")} ELSE {_at("n")} END, {_at("n")}, 'client',
           'transfer ' || n
    FROM generate_series(1, {TRANSFERS}) AS n
    """,
    f"UPDATE funds.ledger_heads SET last_at = {_at(str(TRANSFERS))} WHERE ledger_id = {MAIN}",
    # The first five were fenced, and every hundredth is from the busy account to itself.
    f"""
    INSERT INTO funds.decisions (ledger_id, client_id, idempotency_key, fingerprint, operation, outcome, problem,
                                 debit_account_id, credit_account_id, created_at)
    SELECT {MAIN}, 'client ' || n % 3, 'key ' || n, '', 'post_transfer',
           CASE WHEN n <= 5 THEN 'fenced' ELSE 'rejected' END, CASE WHEN n > 5 THEN '{_PROBLEM}'::json END,
           CASE WHEN n % 4 = 0 THEN {identifier_of("1")} ELSE {identifier_of(_DEBIT)} END,
           CASE WHEN n % 4 = 2 OR n % 100 = 0 THEN {identifier_of("1")} ELSE {identifier_of(_CREDIT)} END, {_at("n")}
    FROM generate_series(1, {REFUSALS}) AS n
    """,
    f"""
    INSERT INTO funds.history (ledger_id, id, type, subject_id, client_id, data, created_at)
    SELECT {MAIN}, {identifier_of("n")}, 'account.revised',
           CASE WHEN n % 2 = 0 THEN {identifier_of("1")} ELSE {identifier_of(_DEBIT)} END, 'client', '{_REVISED}',
           {_at("n")}
    FROM generate_series(1, {REVISIONS}) AS n
    """,
    f"""
    INSERT INTO funds.history (ledger_id, id, type, subject_id, client_id, data, created_at)
    SELECT {MAIN}, overlay({identifier_of("n")}::text PLACING '1' FROM 36)::uuid, 'period.closed', '{UUID(int=0)}',
           'client', '{_CLOSED}', {_at("n")}
    FROM generate_series(1, {CLOSINGS}) AS n
    """,
    f"""
    INSERT INTO funds.history (ledger_id, id, type, client_id, data, created_at)
    SELECT 0, {identifier_of("n")}, 'ledger.created', 'client', '{{}}', {_at("n")}
    FROM generate_series(1, {LEDGERS}) AS n
    """,
)


# A smaller ledger in which all rows are alike: whoever looks at them learns that every value is everywhere.
ALIKE = (
    f"""
    INSERT INTO funds.accounts (ledger_id, id, code, currency, normal_side, created_at, updated_at)
    SELECT {MAIN}, {identifier_of("n")}, '{CROWD}', 'USD', 'credit', now(), now() FROM generate_series(1, 20000) AS n
    """,
    f"""
    INSERT INTO funds.holds (ledger_id, id, debit_account_id, credit_account_id, amount, currency, expires_at,
                             debit_account_version, credit_account_version, metadata, created_at, client_id,
                             idempotency_key)
    SELECT {MAIN}, {identifier_of("n")}, '{id_of(1)}', '{id_of(2)}', 10, 'USD', '9000-01-01Z', n, n, '{{}}', now(),
           'client', 'hold ' || n
    FROM generate_series(1, 20000) AS n
    """,
    f"""
    INSERT INTO funds.transfers (ledger_id, id, debit_account_id, credit_account_id, amount, currency,
                                 debit_account_version, credit_account_version, debit_balance_after,
                                 credit_balance_after, hold_id, reverses_id, reference, metadata, effective_at,
                                 created_at, client_id, idempotency_key)
    SELECT {MAIN}, {identifier_of("n")}, '{id_of(1)}', '{id_of(2)}', 1, 'USD', n, n, 0, 0, '{id_of(1)}', '{id_of(1)}',
           '{COMMON}', '{{}}', now(), now(), 'client', 'transfer ' || n
    FROM generate_series(1, 50000) AS n
    """,
    f"""
    INSERT INTO funds.decisions (ledger_id, client_id, idempotency_key, fingerprint, operation, outcome, problem,
                                 debit_account_id, credit_account_id, created_at)
    SELECT {MAIN}, 'client', 'key ' || n, '', 'post_transfer', 'rejected', '{_PROBLEM}', '{id_of(1)}', '{id_of(2)}',
           {_at("n")}
    FROM generate_series(1, 20000) AS n
    """,
    f"""
    INSERT INTO funds.history (ledger_id, id, type, subject_id, client_id, data, created_at)
    SELECT {MAIN}, {identifier_of("n")}, 'account.revised', '{id_of(1)}', 'client', '{_REVISED}', {_at("n")}
    FROM generate_series(1, 20000) AS n
    """,
)


async def fill(superuser: asyncpg.Connection, statements: Sequence[str] = FILL) -> None:
    """Make the rows, and keep the server from learning about them by itself."""
    for table in ("ledgers", "accounts", "holds", "transfers", "decisions", "history"):
        await superuser.execute(f"ALTER TABLE funds.{table} SET (autovacuum_enabled = off)")
    # Rows are sound, and looking their foreign keys up takes as long as writing them.
    await superuser.execute("SET session_replication_role = replica")
    for statement in statements:
        await superuser.execute(statement)
    await superuser.execute("RESET session_replication_role")
