"""What must be true of the books after anything has happened, read with plain SQL and nothing of the service.

Each rule is a query that returns what breaks it. All of them see one snapshot, so they may be asked under load too.
"""

from collections.abc import Collection

import asyncpg

# Every transfer as its two entries. $1 holds the ids of the ledgers to look at.
_ENTRIES = """
    WITH entries AS (
        SELECT ledger_id, debit_account_id AS account_id, debit_account_version AS version, id, created_at, currency,
               amount AS debit, 0::bigint AS credit, debit_balance_after AS balance_after
        FROM funds.transfers WHERE ledger_id = ANY($1::integer[])
        UNION ALL
        SELECT ledger_id, credit_account_id, credit_account_version, id, created_at, currency,
               0, amount, credit_balance_after
        FROM funds.transfers WHERE ledger_id = ANY($1::integer[])
    )
"""

_RULES = {
    "money is neither made nor lost": """
        SELECT ledger_id, currency, sum(credits_posted::numeric - debits_posted) AS total
        FROM funds.accounts WHERE ledger_id = ANY($1::integer[])
        GROUP BY ledger_id, currency HAVING sum(credits_posted::numeric - debits_posted) <> 0
    """,
    "counters are the sums of the account's transfers": _ENTRIES
    + """
        SELECT account.id, account.debits_posted, account.credits_posted, sum(debit) AS debits, sum(credit) AS credits
        FROM funds.accounts AS account
        LEFT JOIN entries ON entries.ledger_id = account.ledger_id AND entries.account_id = account.id
        WHERE account.ledger_id = ANY($1::integer[])
        GROUP BY account.ledger_id, account.id
        HAVING account.debits_posted <> coalesce(sum(debit), 0) OR account.credits_posted <> coalesce(sum(credit), 0)
    """,
    "no balance is out of its bounds": """
        SELECT id, minimum_balance, maximum_balance, debits_posted, credits_posted
        FROM funds.accounts, LATERAL (
            SELECT CASE normal_side WHEN 'credit' THEN credits_posted - debits_posted
                                    ELSE debits_posted - credits_posted END AS balance,
                   CASE normal_side WHEN 'credit' THEN debits_held ELSE credits_held END AS held
        ) AS netted
        WHERE ledger_id = ANY($1::integer[]) AND (balance - held < minimum_balance OR balance > maximum_balance)
    """,
    "versions run from 1 to the account's version without a gap": _ENTRIES
    + """
        SELECT account.id, account.version, count(entries.version) AS entries, min(entries.version) AS first,
               max(entries.version) AS last, count(DISTINCT entries.version) AS different
        FROM funds.accounts AS account
        LEFT JOIN entries ON entries.ledger_id = account.ledger_id AND entries.account_id = account.id
        WHERE account.ledger_id = ANY($1::integer[])
        GROUP BY account.ledger_id, account.id
        HAVING account.version <> count(entries.version)
            OR count(DISTINCT entries.version) <> count(entries.version)
            OR coalesce(min(entries.version), 1) <> 1
            OR coalesce(max(entries.version), 0) <> count(entries.version)
    """,
    "running balances follow line by line": _ENTRIES
    + """
        SELECT * FROM (
            SELECT account_id, entries.version, balance_after, sum(
                CASE account.normal_side WHEN 'credit' THEN credit - debit ELSE debit - credit END
            ) OVER (PARTITION BY entries.ledger_id, account_id ORDER BY entries.version) AS balance
            FROM entries
            JOIN funds.accounts AS account ON account.ledger_id = entries.ledger_id AND account.id = account_id
        ) AS line (account_id, version, balance_after, balance)
        WHERE balance_after <> balance
    """,
    "identifiers rise and times never fall along an account": _ENTRIES
    + """
        SELECT * FROM (
            SELECT account_id, version, id, created_at,
                   lag(id) OVER history AS id_before, lag(created_at) OVER history AS created_before
            FROM entries WINDOW history AS (PARTITION BY ledger_id, account_id ORDER BY version)
        ) AS line
        WHERE id <= id_before OR created_at < created_before
    """,
    "accounts hold the currency of their transfers": _ENTRIES
    + """
        SELECT entries.id, entries.currency, account.currency AS account_currency
        FROM entries
        LEFT JOIN funds.accounts AS account ON account.ledger_id = entries.ledger_id AND account.id = account_id
        WHERE account.currency IS DISTINCT FROM entries.currency
    """,
    "every transfer has exactly one decision": """
        SELECT transfer.id, count(decision.idempotency_key) AS decisions
        FROM funds.transfers AS transfer
        LEFT JOIN funds.decisions AS decision
          ON decision.ledger_id = transfer.ledger_id AND decision.resource_id = transfer.id
         AND decision.outcome = 'applied'
        WHERE transfer.ledger_id = ANY($1::integer[])
        GROUP BY transfer.ledger_id, transfer.id HAVING count(decision.idempotency_key) <> 1
    """,
    "every applied decision has what it made": """
        SELECT decision.idempotency_key, decision.operation, decision.resource_id
        FROM funds.decisions AS decision
        LEFT JOIN funds.transfers AS transfer
          ON transfer.ledger_id = decision.ledger_id AND transfer.id = decision.resource_id
        LEFT JOIN funds.accounts AS account
          ON account.ledger_id = decision.ledger_id AND account.id = decision.resource_id
        WHERE decision.ledger_id = ANY($1::integer[]) AND decision.outcome = 'applied'
          AND ((transfer.id IS NULL AND account.id IS NULL)
               OR (transfer.id IS NOT NULL AND transfer.created_at <> decision.created_at))
    """,
    "a rejected decision made nothing": """
        SELECT idempotency_key, resource_id FROM funds.decisions
        WHERE ledger_id = ANY($1::integer[]) AND outcome = 'rejected' AND resource_id IS NOT NULL
    """,
}

_CONSTANT_BOUNDS = {
    "no balance was ever out of its bounds": _ENTRIES
    + """
        SELECT account_id, entries.version, balance_after, minimum_balance, maximum_balance
        FROM entries
        JOIN funds.accounts AS account ON account.ledger_id = entries.ledger_id AND account.id = account_id
        WHERE balance_after < minimum_balance OR balance_after > maximum_balance
    """,
}


async def assert_ledger_is_sound(
    url: str, *, ledgers: Collection[str] | None = None, bounds_were_constant: bool = False
) -> None:
    """Assert every rule on ``ledgers`` (names; None for all) of the database at ``url``.

    ``bounds_were_constant``: no bound of theirs was ever revised, so the whole history must lie within them.
    """
    rules = _RULES | _CONSTANT_BOUNDS if bounds_were_constant else _RULES
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await connection.fetch("SELECT id, name FROM funds.ledgers")
            ids = [row["id"] for row in found if ledgers is None or row["name"] in ledgers]
            assert ledgers is None or len(ids) == len(set(ledgers)), f"ledgers are missing: {ledgers}"
            broken = {
                rule: [dict(row) for row in rows[:5]]
                for rule, query in rules.items()
                if (rows := await connection.fetch(query, ids))
            }
    finally:
        await connection.close()
    assert not broken, f"the books are broken: {broken}"
