"""The rules of transfers and holds: each by itself, and with what it captures, ends or reverses."""

from service.domain.integrity import Scope
from service.storage.integrity.rules import SLICE, TIME_DIFFERS, Rule, misses_its_time

_ACCOUNTS_DIFFER = """
    SELECT '{table}' AS "table", fact.id::text AS id, format(
        'it moves %s from account %s (%s) to account %s (%s)', fact.currency,
        fact.debit_account_id, coalesce(debit.currency, 'not there'),
        fact.credit_account_id, coalesce(credit.currency, 'not there')) AS wrong
    FROM ({slice}) AS fact
    LEFT JOIN funds.accounts AS debit ON debit.ledger_id = $1::integer AND debit.id = fact.debit_account_id
    LEFT JOIN funds.accounts AS credit ON credit.ledger_id = $1::integer AND credit.id = fact.credit_account_id
    WHERE debit.currency IS DISTINCT FROM fact.currency OR credit.currency IS DISTINCT FROM fact.currency
"""
_TIMES_DIFFER = """
    SELECT '{table}' AS "table", fact.id::text AS id, {wrong} AS wrong FROM ({slice}) AS fact WHERE {condition}
"""

_TRANSFERS = (
    Rule(
        "the accounts of a transfer exist and hold its currency",
        "No transfer moves what is not there, and none turns one currency into another.",
        Scope.TRANSFERS,
        _ACCOUNTS_DIFFER.format(table="transfers", slice=SLICE.transfers),
    ),
    Rule(
        "the identifier of a transfer tells when it was made",
        "No transfer's created_at was edited.",
        Scope.TRANSFERS,
        _TIMES_DIFFER.format(
            table="transfers",
            slice=SLICE.transfers,
            wrong=TIME_DIFFERS.format(row="fact"),
            condition=misses_its_time("fact.id", "fact.created_at"),
        ),
    ),
    Rule(
        "captures move what their hold reserved, between its accounts, while it was open",
        "No capture takes money that was reserved for somebody else, or too late.",
        Scope.TRANSFERS,
        f"""
        SELECT 'transfers' AS "table", capture.id::text AS id, format(
            'it captures hold %s, which was not open then, or is between other accounts', capture.hold_id) AS wrong
        FROM ({SLICE.transfers}) AS capture
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = $1::integer AND hold.id = capture.hold_id
        WHERE capture.hold_id IS NOT NULL AND (
            (hold.debit_account_id, hold.credit_account_id, hold.currency)
              IS DISTINCT FROM (capture.debit_account_id, capture.credit_account_id, capture.currency)
            OR capture.debit_account_version <= hold.debit_account_version
            OR capture.debit_account_version > hold.closed_debit_account_version
            OR capture.created_at >= hold.expires_at
        )
        """,
    ),
    Rule(
        "what is reversed of a transfer is the sum of its reversals, and never more than it",
        "No transfer was moved back twice.",
        Scope.TRANSFERS,
        f"""
        SELECT 'reversed_transfers' AS "table", fact.id::text AS id, format(
            'of %s, %s is reversed by its own word, and its reversals make %s',
            coalesce(transfer.amount::text, 'nothing'), coalesce(reversed.reversed_amount, 0),
            coalesce(reversals.amount, 0)) AS wrong
        FROM (
            SELECT id FROM ({SLICE.transfers}) AS made
            UNION
            SELECT transfer_id FROM funds.reversed_transfers
            WHERE ledger_id = $1::integer AND transfer_id > $2::text::uuid AND transfer_id <= $3::text::uuid
        ) AS fact
        LEFT JOIN funds.transfers AS transfer ON transfer.ledger_id = $1::integer AND transfer.id = fact.id
        CROSS JOIN LATERAL (
            SELECT sum(amount) AS amount FROM funds.transfers AS reversal
            WHERE reversal.ledger_id = $1::integer AND reversal.reverses_id = fact.id
        ) AS reversals
        LEFT JOIN funds.reversed_transfers AS reversed
          ON reversed.ledger_id = $1::integer AND reversed.transfer_id = fact.id
        WHERE reversed.reversed_amount IS DISTINCT FROM reversals.amount
            OR reversed.reversed_amount > transfer.amount OR reversed.amount <> transfer.amount
        """,
    ),
    Rule(
        "reversals go the other way, once",
        "A reversal gives back to whom it was taken from, and is not reversed itself.",
        Scope.TRANSFERS,
        f"""
        SELECT 'transfers' AS "table", reversal.id::text AS id, format(
            'it reverses transfer %s, which is not there, or moved otherwise, or is a reversal',
            reversal.reverses_id) AS wrong
        FROM ({SLICE.transfers}) AS reversal
        LEFT JOIN funds.transfers AS transfer
          ON transfer.ledger_id = $1::integer AND transfer.id = reversal.reverses_id
        WHERE reversal.reverses_id IS NOT NULL AND (
            (transfer.debit_account_id, transfer.credit_account_id, transfer.currency)
              IS DISTINCT FROM (reversal.credit_account_id, reversal.debit_account_id, reversal.currency)
            OR transfer.reverses_id IS NOT NULL OR reversal.id <= transfer.id
        )
        """,
    ),
    Rule(
        "no value date lies before what it refers to",
        "Nothing counts for a day before its accounts were there, or before what it captures or reverses.",
        Scope.TRANSFERS,
        f"""
        SELECT 'transfers' AS "table", transfer.id::text AS id, format(
            'it counts for %s, before an account, a hold or a transfer that it needs', transfer.effective_at) AS wrong
        FROM ({SLICE.transfers}) AS transfer
        JOIN funds.accounts AS debit ON debit.ledger_id = $1::integer AND debit.id = debit_account_id
        JOIN funds.accounts AS credit ON credit.ledger_id = $1::integer AND credit.id = credit_account_id
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = $1::integer AND hold.id = transfer.hold_id
        LEFT JOIN funds.transfers AS reversed
          ON reversed.ledger_id = $1::integer AND reversed.id = transfer.reverses_id
        WHERE transfer.effective_at < date_trunc('day', debit.created_at, 'UTC')
           OR transfer.effective_at < date_trunc('day', credit.created_at, 'UTC')
           OR transfer.effective_at < hold.created_at OR transfer.effective_at < reversed.effective_at
        """,
    ),
    Rule(
        "what applies together has one moment",
        "A group was applied whole.",
        Scope.LEDGER,
        """
        SELECT 'transfers' AS "table", min(id::text) AS id, format(
            'its group %s was applied at %s different times', group_id, count(DISTINCT created_at)) AS wrong
        FROM (
            SELECT id, group_id, created_at FROM funds.transfers
            WHERE ledger_id = $1::integer AND group_id IS NOT NULL
            UNION ALL
            SELECT id, group_id, created_at FROM funds.holds WHERE ledger_id = $1::integer AND group_id IS NOT NULL
        ) AS member
        GROUP BY group_id HAVING count(DISTINCT created_at) > 1
        """,
    ),
)

_HOLDS = (
    Rule(
        "the accounts of a hold exist and hold its currency",
        "No hold reserves what is not there.",
        Scope.HOLDS,
        _ACCOUNTS_DIFFER.format(table="holds", slice=SLICE.holds),
    ),
    Rule(
        "the identifier of a hold tells when it was opened",
        "No hold's created_at was edited.",
        Scope.HOLDS,
        _TIMES_DIFFER.format(
            table="holds",
            slice=SLICE.holds,
            wrong=TIME_DIFFERS.format(row="fact"),
            condition=misses_its_time("fact.id", "fact.created_at"),
        ),
    ),
    Rule(
        "what is captured of a hold is the sum of its captures, and never more than it",
        "Nobody was paid more than was reserved, and no capture is missing.",
        Scope.HOLDS,
        f"""
        SELECT 'holds' AS "table", hold.id::text AS id, format(
            'of %s, %s is captured by its own word, and its captures make %s',
            hold.amount, hold.captured_amount, captures.amount) AS wrong
        FROM ({SLICE.holds}) AS hold
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(amount), 0) AS amount FROM funds.transfers AS capture
            WHERE capture.ledger_id = $1::integer AND capture.hold_id = hold.id
        ) AS captures
        WHERE hold.captured_amount <> captures.amount OR hold.captured_amount > hold.amount
        """,
    ),
    Rule(
        "a hold has one end: its last capture, or a moment of its own before or after its time",
        "No hold was closed, or opened again, but by a capture, a void or its expiry.",
        Scope.HOLDS,
        f"""
        SELECT 'holds' AS "table", hold.id::text AS id, format(
            'it is %s, with %s of %s captured, closed at %s, and its last capture was at %s', hold.status,
            hold.captured_amount, hold.amount, coalesce(hold.closed_at::text, 'no time'),
            coalesce(last.created_at::text, 'no time')) AS wrong
        FROM ({SLICE.holds}) AS hold
        LEFT JOIN LATERAL (
            SELECT * FROM funds.transfers AS capture
            WHERE capture.ledger_id = $1::integer AND capture.hold_id = hold.id
            ORDER BY capture.debit_account_version DESC LIMIT 1
        ) AS last ON true
        WHERE NOT CASE hold.status
            WHEN 'open' THEN hold.captured_amount < hold.amount
            WHEN 'captured' THEN (last.debit_account_version, last.credit_account_version, last.created_at)
               IS NOT DISTINCT FROM (hold.closed_debit_account_version, hold.closed_credit_account_version,
                                     hold.closed_at)
            WHEN 'voided' THEN hold.closed_at < hold.expires_at AND hold.captured_amount < hold.amount
            WHEN 'expired' THEN hold.closed_at >= hold.expires_at AND hold.captured_amount < hold.amount
        END
        """,
    ),
)

RULES = (*_TRANSFERS, *_HOLDS)
