"""What must be true of any ledger, as SQL: each rule is a query that returns what breaks it.

In all of them $1 holds the ids of the ledgers to look at.
"""

_TRANSFERS = "SELECT * FROM funds.transfers WHERE ledger_id = ANY($1::integer[])"
_HOLDS = "SELECT * FROM funds.holds WHERE ledger_id = ANY($1::integer[])"
_ACCOUNTS = "SELECT * FROM funds.accounts WHERE ledger_id = ANY($1::integer[])"
_DECISIONS = "SELECT * FROM funds.decisions WHERE ledger_id = ANY($1::integer[])"

# Whatever changes the counters of two accounts: transfers, holds opened, holds freed without a capture (void, expiry).
# A capture takes its amount from what is held; the one that ends its hold takes all that was left.
_CHANGES = f"""
    WITH transfers AS ({_TRANSFERS}), holds AS ({_HOLDS}), accounts AS ({_ACCOUNTS}),
    facts AS (
        SELECT transfer.ledger_id, transfer.debit_account_id, transfer.debit_account_version,
               transfer.credit_account_id, transfer.credit_account_version, transfer.currency, transfer.created_at,
               transfer.id, transfer.amount AS posted, transfer.debit_balance_after, transfer.credit_balance_after,
               CASE WHEN hold.id IS NULL THEN 0
                    WHEN hold.status = 'captured'
                     AND hold.closed_debit_account_version = transfer.debit_account_version
                    THEN hold.captured_amount - transfer.amount - hold.amount
                    ELSE -transfer.amount END AS held
        FROM transfers AS transfer
        LEFT JOIN holds AS hold ON hold.ledger_id = transfer.ledger_id AND hold.id = transfer.hold_id
        UNION ALL
        SELECT ledger_id, debit_account_id, debit_account_version, credit_account_id, credit_account_version, currency,
               created_at, id, 0, NULL, NULL, amount
        FROM holds
        UNION ALL
        SELECT ledger_id, debit_account_id, closed_debit_account_version, credit_account_id,
               closed_credit_account_version, currency, closed_at, NULL, 0, NULL, NULL, captured_amount - amount
        FROM holds WHERE status IN ('voided', 'expired')
    ),
    changes AS (
        SELECT ledger_id, debit_account_id AS account_id, debit_account_version AS version, currency, created_at, id,
               posted AS debit, 0::bigint AS credit, held AS debit_held, 0::bigint AS credit_held,
               debit_balance_after AS balance_after
        FROM facts
        UNION ALL
        SELECT ledger_id, credit_account_id, credit_account_version, currency, created_at, id,
               0, posted, 0, held, credit_balance_after
        FROM facts
    )
"""
# The same with the balances after each change, on the account's normal side.
HISTORY = f"""{_CHANGES},
    history AS (
        SELECT change.*, account.minimum_balance, account.maximum_balance,
               sum(CASE account.normal_side WHEN 'credit' THEN credit - debit ELSE debit - credit END)
                 OVER line AS balance,
               sum(CASE account.normal_side WHEN 'credit' THEN debit_held ELSE credit_held END) OVER line AS held
        FROM changes AS change
        JOIN accounts AS account ON account.ledger_id = change.ledger_id AND account.id = change.account_id
        WINDOW line AS (PARTITION BY change.ledger_id, change.account_id ORDER BY change.version)
    )
"""

_MONEY = {
    "money is neither made nor lost": f"""
        SELECT ledger_id, currency, sum(credits_posted::numeric - debits_posted) AS total,
               sum(credits_held::numeric - debits_held) AS held
        FROM ({_ACCOUNTS}) AS account
        GROUP BY ledger_id, currency
        HAVING sum(credits_posted::numeric - debits_posted) <> 0 OR sum(credits_held::numeric - debits_held) <> 0
    """,
    "posted counters are the sums of the account's transfers, held ones those of its open holds": f"""{_CHANGES}
        SELECT account.*, posted.debits, posted.credits, debit_holds.reserved, credit_holds.reserved
        FROM accounts AS account
        LEFT JOIN (
            SELECT ledger_id, account_id, sum(debit) AS debits, sum(credit) AS credits
            FROM changes GROUP BY ledger_id, account_id
        ) AS posted ON posted.ledger_id = account.ledger_id AND posted.account_id = account.id
        LEFT JOIN (
            SELECT ledger_id, debit_account_id, sum(amount - captured_amount) AS reserved
            FROM holds WHERE status = 'open' GROUP BY ledger_id, debit_account_id
        ) AS debit_holds ON debit_holds.ledger_id = account.ledger_id AND debit_account_id = account.id
        LEFT JOIN (
            SELECT ledger_id, credit_account_id, sum(amount - captured_amount) AS reserved
            FROM holds WHERE status = 'open' GROUP BY ledger_id, credit_account_id
        ) AS credit_holds ON credit_holds.ledger_id = account.ledger_id AND credit_account_id = account.id
        WHERE (account.debits_posted, account.credits_posted, account.debits_held, account.credits_held)
           <> (coalesce(debits, 0), coalesce(credits, 0), coalesce(debit_holds.reserved, 0),
               coalesce(credit_holds.reserved, 0))
    """,
    "no available balance is below the minimum, no balance above the maximum": f"""
        SELECT id, minimum_balance, maximum_balance, balance, held
        FROM ({_ACCOUNTS}) AS account, LATERAL (
            SELECT CASE normal_side WHEN 'credit' THEN credits_posted - debits_posted
                                    ELSE debits_posted - credits_posted END AS balance,
                   CASE normal_side WHEN 'credit' THEN debits_held ELSE credits_held END AS held
        ) AS netted
        WHERE balance - held < minimum_balance OR balance > maximum_balance
    """,
    "a closed account is empty": f"""
        SELECT id, debits_posted, credits_posted, debits_held, credits_held FROM ({_ACCOUNTS}) AS account
        WHERE status = 'closed' AND (debits_posted <> credits_posted OR debits_held > 0 OR credits_held > 0)
    """,
}

_LINES = {
    "versions run from 1 to the account's version without a gap": f"""{_CHANGES}
        SELECT account.id, account.version, count(change.version) AS changes, min(change.version) AS first,
               max(change.version) AS last, count(DISTINCT change.version) AS different
        FROM accounts AS account
        LEFT JOIN changes AS change ON change.ledger_id = account.ledger_id AND change.account_id = account.id
        GROUP BY account.ledger_id, account.id, account.version
        HAVING account.version <> count(change.version)
            OR count(DISTINCT change.version) <> count(change.version)
            OR coalesce(min(change.version), 1) <> 1
            OR coalesce(max(change.version), 0) <> count(change.version)
    """,
    "running balances follow line by line": f"""{HISTORY}
        SELECT account_id, version, balance_after, balance FROM history WHERE balance_after <> balance
    """,
    "nothing was ever held that no hold reserved": f"""{HISTORY}
        SELECT account_id, version, held FROM history WHERE held < 0
    """,
    "identifiers rise and times never fall along an account": f"""{_CHANGES}
        SELECT * FROM (
            SELECT account_id, version, id, created_at,
                   max(id::text) OVER before AS highest_id, max(created_at) OVER before AS latest
            FROM changes WINDOW before AS (
                PARTITION BY ledger_id, account_id ORDER BY version ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        ) AS line
        WHERE id::text <= highest_id OR created_at < latest
    """,
    "accounts hold the currency of their transfers and holds": f"""{_CHANGES}
        SELECT change.account_id, change.version, change.currency, account.currency AS account_currency
        FROM changes AS change
        LEFT JOIN accounts AS account ON account.ledger_id = change.ledger_id AND account.id = change.account_id
        WHERE account.currency IS DISTINCT FROM change.currency
    """,
}

_HOLDS_AND_REVERSALS = {
    "what is captured of a hold is the sum of its captures, and never more than it": f"""
        SELECT hold.id, hold.amount, hold.captured_amount, sum(capture.amount) AS captures
        FROM ({_HOLDS}) AS hold
        LEFT JOIN funds.transfers AS capture ON capture.ledger_id = hold.ledger_id AND capture.hold_id = hold.id
        GROUP BY hold.ledger_id, hold.id, hold.amount, hold.captured_amount
        HAVING hold.captured_amount <> coalesce(sum(capture.amount), 0) OR hold.captured_amount > hold.amount
    """,
    "captures move what their hold reserved, between its accounts, while it was open": f"""
        SELECT hold.*, capture.id AS capture, capture.amount, capture.created_at, capture.debit_account_version
        FROM ({_TRANSFERS}) AS capture
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = capture.ledger_id AND hold.id = capture.hold_id
        WHERE capture.hold_id IS NOT NULL AND (
            (hold.debit_account_id, hold.credit_account_id, hold.currency)
              IS DISTINCT FROM (capture.debit_account_id, capture.credit_account_id, capture.currency)
            OR capture.debit_account_version <= hold.debit_account_version
            OR capture.debit_account_version > hold.closed_debit_account_version
            OR capture.created_at >= hold.expires_at
        )
    """,
    "a hold has one end: its last capture, or a moment of its own before or after its time": f"""
        SELECT hold.*, last.id AS last_capture, last.created_at AS last_captured_at
        FROM ({_HOLDS}) AS hold
        LEFT JOIN LATERAL (
            SELECT * FROM funds.transfers AS capture
            WHERE capture.ledger_id = hold.ledger_id AND capture.hold_id = hold.id
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
    "what is reversed of a transfer is the sum of its reversals, and never more than it": f"""
        SELECT transfer.id, transfer.amount, reversed.amount, reversed.reversed_amount, sum(reversal.amount) AS sum
        FROM ({_TRANSFERS}) AS transfer
        LEFT JOIN funds.transfers AS reversal
          ON reversal.ledger_id = transfer.ledger_id AND reversal.reverses_id = transfer.id
        LEFT JOIN funds.reversed_transfers AS reversed
          ON reversed.ledger_id = transfer.ledger_id AND reversed.transfer_id = transfer.id
        GROUP BY transfer.ledger_id, transfer.id, transfer.amount, reversed.amount, reversed.reversed_amount
        HAVING reversed.reversed_amount IS DISTINCT FROM sum(reversal.amount)
            OR reversed.reversed_amount > transfer.amount OR reversed.amount <> transfer.amount
    """,
    "reversals go the other way, once": f"""
        SELECT reversal.*
        FROM ({_TRANSFERS}) AS reversal
        LEFT JOIN funds.transfers AS transfer
          ON transfer.ledger_id = reversal.ledger_id AND transfer.id = reversal.reverses_id
        WHERE reversal.reverses_id IS NOT NULL AND (
            (transfer.debit_account_id, transfer.credit_account_id, transfer.currency)
              IS DISTINCT FROM (reversal.credit_account_id, reversal.debit_account_id, reversal.currency)
            OR transfer.reverses_id IS NOT NULL OR reversal.id <= transfer.id
        )
    """,
    "no value date lies before what it refers to": f"""
        SELECT transfer.id, transfer.effective_at, debit.created_at AS debit_opened_at,
               credit.created_at AS credit_opened_at, hold.created_at AS hold_opened_at, reversed.effective_at AS of_it
        FROM ({_TRANSFERS}) AS transfer
        JOIN funds.accounts AS debit ON debit.ledger_id = transfer.ledger_id AND debit.id = debit_account_id
        JOIN funds.accounts AS credit ON credit.ledger_id = transfer.ledger_id AND credit.id = credit_account_id
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = transfer.ledger_id AND hold.id = transfer.hold_id
        LEFT JOIN funds.transfers AS reversed
          ON reversed.ledger_id = transfer.ledger_id AND reversed.id = transfer.reverses_id
        WHERE transfer.effective_at < date_trunc('day', debit.created_at, 'UTC')
           OR transfer.effective_at < date_trunc('day', credit.created_at, 'UTC')
           OR transfer.effective_at < hold.created_at OR transfer.effective_at < reversed.effective_at
    """,
    "what applies together has one moment": f"""
        SELECT group_id, count(DISTINCT created_at) AS moments
        FROM (SELECT group_id, created_at FROM ({_TRANSFERS}) AS transfer
              UNION ALL SELECT group_id, created_at FROM ({_HOLDS}) AS hold) AS member
        WHERE group_id IS NOT NULL GROUP BY group_id HAVING count(DISTINCT created_at) > 1
    """,
}

_KEYS = {
    "every transfer and every hold, opened or voided, has exactly one decision": f"""
        SELECT fact.operation, fact.id, count(decision.idempotency_key) AS decisions
        FROM (
            SELECT ledger_id, id, created_at AS at,
                   CASE WHEN hold_id IS NOT NULL THEN 'capture_hold' WHEN reverses_id IS NOT NULL
                        THEN 'reverse_transfer' ELSE 'post_transfer' END AS operation
            FROM ({_TRANSFERS}) AS transfer
            UNION ALL SELECT ledger_id, id, created_at, 'open_hold' FROM ({_HOLDS}) AS opened
            UNION ALL SELECT ledger_id, id, closed_at, 'void_hold' FROM ({_HOLDS}) AS closed WHERE status = 'voided'
        ) AS fact
        LEFT JOIN funds.decisions AS decision
          ON decision.ledger_id = fact.ledger_id AND decision.resource_id = fact.id AND decision.outcome = 'applied'
         AND decision.operation = fact.operation AND decision.created_at = fact.at
        GROUP BY fact.ledger_id, fact.operation, fact.id HAVING count(decision.idempotency_key) <> 1
    """,
    "every applied decision has what it made": f"""
        SELECT decision.idempotency_key, decision.operation, decision.resource_id
        FROM ({_DECISIONS}) AS decision
        LEFT JOIN funds.transfers AS transfer
          ON transfer.ledger_id = decision.ledger_id AND transfer.id = decision.resource_id
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = decision.ledger_id AND hold.id = decision.resource_id
        LEFT JOIN funds.accounts AS account
          ON account.ledger_id = decision.ledger_id AND account.id = decision.resource_id
        WHERE decision.outcome = 'applied' AND NOT coalesce(CASE decision.operation
            WHEN 'post_transfer' THEN transfer.created_at = decision.created_at
             AND transfer.hold_id IS NULL AND transfer.reverses_id IS NULL
            WHEN 'capture_hold' THEN transfer.created_at = decision.created_at AND transfer.hold_id IS NOT NULL
            WHEN 'reverse_transfer' THEN transfer.created_at = decision.created_at AND transfer.reverses_id IS NOT NULL
            WHEN 'open_hold' THEN hold.created_at = decision.created_at
            WHEN 'void_hold' THEN hold.closed_at = decision.created_at AND hold.status = 'voided'
            WHEN 'create_account' THEN account.id IS NOT NULL
            WHEN 'revise_account' THEN account.updated_at >= decision.created_at
        END, false)
    """,
    "what was refused or fenced made nothing": f"""
        SELECT idempotency_key, operation, outcome, resource_id FROM ({_DECISIONS}) AS decision
        WHERE outcome <> 'applied' AND resource_id IS NOT NULL OR (outcome = 'fenced') <> (operation = 'fence_key')
    """,
}

RULES = _MONEY | _LINES | _HOLDS_AND_REVERSALS | _KEYS

CONSTANT_BOUNDS = {
    "no available balance was ever below the minimum, no balance above the maximum": f"""{HISTORY}
        SELECT account_id, version, balance, held, minimum_balance, maximum_balance
        FROM history WHERE balance - held < minimum_balance OR balance > maximum_balance
    """,
}
"""Of ledgers whose accounts' bounds were never revised."""
