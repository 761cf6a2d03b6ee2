"""What stands in ledgers, read with plain SQL on one snapshot, as the checker of histories takes it."""

from collections.abc import Collection
from typing import Any, TypeVar

import asyncpg

from funds_testing.histories import Account, Decision, Hold, Standing, Transfer

Row = TypeVar("Row")

_OF_LEDGERS = "JOIN funds.ledgers AS ledger ON ledger.id = one.ledger_id WHERE ledger.name = ANY($1::text[])"
_QUERIES: dict[type[Any], str] = {
    Account: f"""
        SELECT one.id::text, ledger.name AS ledger, currency, normal_side, minimum_balance, maximum_balance,
               debits_posted, credits_posted, debits_held, credits_held, version,
               NOT EXISTS (
                   SELECT FROM funds.history AS entry WHERE entry.ledger_id = one.ledger_id
                   AND entry.subject_id = one.id AND entry.type = 'account.revised'
               ) AS bounds_were_constant
        FROM funds.accounts AS one {_OF_LEDGERS}
    """,
    Transfer: f"""
        SELECT one.id::text, ledger.name AS ledger, idempotency_key AS key, debit_account_id::text,
               credit_account_id::text, amount, currency, debit_account_version, credit_account_version,
               debit_balance_after, credit_balance_after, hold_id::text, reverses_id::text
        FROM funds.transfers AS one {_OF_LEDGERS}
    """,
    Hold: f"""
        SELECT one.id::text, ledger.name AS ledger, idempotency_key AS key, debit_account_id::text,
               credit_account_id::text, amount, currency, debit_account_version, credit_account_version,
               captured_amount, status, closed_debit_account_version, closed_credit_account_version
        FROM funds.holds AS one {_OF_LEDGERS}
    """,
    Decision: f"""
        SELECT ledger.name AS ledger, idempotency_key AS key, operation, outcome, resource_id::text,
               problem ->> 'code' AS code
        FROM funds.decisions AS one {_OF_LEDGERS}
    """,
}


async def standing_in(url: str, ledgers: Collection[str]) -> Standing:
    """Return everything that stands in ``ledgers`` (names) of the database at ``url``."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return Standing(
                accounts=await _rows(connection, Account, ledgers),
                transfers=await _rows(connection, Transfer, ledgers),
                holds=await _rows(connection, Hold, ledgers),
                decisions=await _rows(connection, Decision, ledgers),
            )
    finally:
        await connection.close()


async def _rows(connection: asyncpg.Connection, kind: type[Row], ledgers: Collection[str]) -> list[Row]:
    return [kind(**row) for row in await connection.fetch(_QUERIES[kind], sorted(ledgers))]
