"""The rules of accounts: what their counters, versions and balances must be, change by change."""

from service.domain.integrity import Scope
from service.storage.integrity.rules import SLICE, Rule

# Whatever changes the counters of two accounts: transfers, holds opened, holds freed without a capture (void, expiry).
# A capture takes its amount from what is held; the one that ends its hold takes all that was left.
CHANGES = f"""
    WITH accounts AS MATERIALIZED ({SLICE.accounts}),
    changes AS (
        SELECT account.id AS account_id, 'transfers' AS "table", transfer.id, transfer.debit_account_version AS version,
               transfer.created_at, transfer.amount AS debit, 0::bigint AS credit,
               transfer.debit_balance_after AS balance_after,
               CASE WHEN hold.id IS NULL THEN 0
                    WHEN hold.status = 'captured'
                     AND hold.closed_debit_account_version = transfer.debit_account_version
                    THEN hold.captured_amount - transfer.amount - hold.amount
                    ELSE -transfer.amount END AS debit_held, 0::bigint AS credit_held
        FROM accounts AS account
        JOIN funds.transfers AS transfer ON transfer.ledger_id = $1::integer AND transfer.debit_account_id = account.id
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = $1::integer AND hold.id = transfer.hold_id
        UNION ALL
        SELECT account.id, 'transfers', transfer.id, transfer.credit_account_version, transfer.created_at,
               0, transfer.amount, transfer.credit_balance_after, 0,
               CASE WHEN hold.id IS NULL THEN 0
                    WHEN hold.status = 'captured'
                     AND hold.closed_debit_account_version = transfer.debit_account_version
                    THEN hold.captured_amount - transfer.amount - hold.amount
                    ELSE -transfer.amount END
        FROM accounts AS account
        JOIN funds.transfers AS transfer ON transfer.ledger_id = $1::integer AND transfer.credit_account_id = account.id
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = $1::integer AND hold.id = transfer.hold_id
        UNION ALL
        SELECT account.id, 'holds', change.id, change.debit_version, change.at, 0, 0, NULL, change.amount, 0
        FROM accounts AS account
        JOIN funds.holds AS hold ON hold.ledger_id = $1::integer AND hold.debit_account_id = account.id
        CROSS JOIN LATERAL ({{hold_changes}}) AS change
        UNION ALL
        SELECT account.id, 'holds', change.id, change.credit_version, change.at, 0, 0, NULL, 0, change.amount
        FROM accounts AS account
        JOIN funds.holds AS hold ON hold.ledger_id = $1::integer AND hold.credit_account_id = account.id
        CROSS JOIN LATERAL ({{hold_changes}}) AS change
    )
""".format(
    hold_changes="""
            SELECT hold.id, hold.debit_account_version AS debit_version, hold.credit_account_version AS credit_version,
                   hold.created_at AS at, hold.amount AS amount
            UNION ALL
            SELECT NULL, hold.closed_debit_account_version, hold.closed_credit_account_version, hold.closed_at,
                   hold.captured_amount - hold.amount
            WHERE hold.status IN ('voided', 'expired')
    """
)
# The same with the balances after each change, on the account's normal side.
LINES = f"""{CHANGES},
    lines AS (
        SELECT change.*, account.minimum_balance, account.maximum_balance,
               sum(CASE account.normal_side WHEN 'credit' THEN credit - debit ELSE debit - credit END)
                 OVER line AS balance,
               sum(CASE account.normal_side WHEN 'credit' THEN debit_held ELSE credit_held END) OVER line AS held
        FROM changes AS change
        JOIN accounts AS account ON account.id = change.account_id
        WINDOW line AS (PARTITION BY change.account_id ORDER BY change.version)
    )
"""

COUNTERS = Rule(
    "posted counters are the sums of the account's transfers, held ones those of its open holds",
    "No counter was edited, no amount of a transfer was, and no transfer is missing or was added by hand.",
    Scope.ACCOUNTS,
    f"""{CHANGES}
        SELECT 'accounts' AS "table", account.id::text AS id, format(
            'its counters are %s debited, %s credited, %s and %s held;'
            ' its transfers and open holds make %s, %s, %s and %s',
            account.debits_posted, account.credits_posted, account.debits_held, account.credits_held,
            coalesce(posted.debits, 0), coalesce(posted.credits, 0), held.debits, held.credits) AS wrong
        FROM accounts AS account
        LEFT JOIN (
            SELECT account_id, sum(debit) AS debits, sum(credit) AS credits FROM changes GROUP BY account_id
        ) AS posted ON posted.account_id = account.id
        CROSS JOIN LATERAL (
            SELECT (
                SELECT coalesce(sum(amount - captured_amount), 0) FROM funds.holds AS hold
                WHERE hold.ledger_id = $1::integer AND hold.debit_account_id = account.id AND status = 'open'
            ) AS debits, (
                SELECT coalesce(sum(amount - captured_amount), 0) FROM funds.holds AS hold
                WHERE hold.ledger_id = $1::integer AND hold.credit_account_id = account.id AND status = 'open'
            ) AS credits
        ) AS held
        WHERE (account.debits_posted, account.credits_posted, account.debits_held, account.credits_held)
           <> (coalesce(posted.debits, 0), coalesce(posted.credits, 0), held.debits, held.credits)
    """,
)

RULES = (
    Rule(
        "money is neither made nor lost",
        "In each currency, all that was debited was credited, and as much is held on one side as on the other.",
        Scope.LEDGER,
        """
        SELECT 'accounts' AS "table", currency AS id, format(
            'the accounts in %s have %s more credits than debits posted, and %s more held',
            currency, sum(credits_posted::numeric - debits_posted), sum(credits_held::numeric - debits_held)) AS wrong
        FROM funds.accounts WHERE ledger_id = $1::integer
        GROUP BY currency
        HAVING sum(credits_posted::numeric - debits_posted) <> 0 OR sum(credits_held::numeric - debits_held) <> 0
        """,
    ),
    COUNTERS,
    Rule(
        "no available balance is below the minimum, no balance above the maximum",
        "Nobody has more, or less, than the account's bounds allow.",
        Scope.ACCOUNTS,
        f"""
        SELECT 'accounts' AS "table", id::text AS id, format(
            'its balance is %s, of which %s is held, and its bounds are %s and %s',
            balance, held, coalesce(minimum_balance::text, 'none'), coalesce(maximum_balance::text, 'none')) AS wrong
        FROM ({SLICE.accounts}) AS account, LATERAL (
            SELECT CASE normal_side WHEN 'credit' THEN credits_posted - debits_posted
                                    ELSE debits_posted - credits_posted END AS balance,
                   CASE normal_side WHEN 'credit' THEN debits_held ELSE credits_held END AS held
        ) AS netted
        WHERE balance - held < minimum_balance OR balance > maximum_balance
        """,
    ),
    Rule(
        "a closed account is empty",
        "No money lies where nobody can move it.",
        Scope.ACCOUNTS,
        f"""
        SELECT 'accounts' AS "table", id::text AS id, 'it is closed, and something is left in it' AS wrong
        FROM ({SLICE.accounts}) AS account
        WHERE status = 'closed' AND (debits_posted <> credits_posted OR debits_held > 0 OR credits_held > 0)
        """,
    ),
    Rule(
        "versions run from 1 to the account's version without a gap",
        "No change of the account is missing, none was put in between, and none is there twice.",
        Scope.ACCOUNTS,
        f"""{CHANGES}
        SELECT 'accounts' AS "table", account.id::text AS id, format(
            'it is at version %s, and has %s changes with %s different versions from %s to %s', account.version,
            count(change.version), count(DISTINCT change.version), min(change.version), max(change.version)) AS wrong
        FROM accounts AS account
        LEFT JOIN changes AS change ON change.account_id = account.id
        GROUP BY account.id, account.version
        HAVING account.version <> count(change.version)
            OR count(DISTINCT change.version) <> count(change.version)
            OR coalesce(min(change.version), 1) <> 1
            OR coalesce(max(change.version), 0) <> count(change.version)
        """,
    ),
    Rule(
        "running balances follow line by line",
        "Each balance that a transfer shows is the one before it with its amount added or taken away.",
        Scope.ACCOUNTS,
        f"""{LINES}
        SELECT "table", id::text AS id, format(
            'it leaves account %s at version %s with %s by its own word, and with %s by the sum of all changes',
            account_id, version, balance_after, balance) AS wrong
        FROM lines WHERE balance_after <> balance
        """,
    ),
    Rule(
        "nothing was ever held that no hold reserved",
        "At no time was more captured, or freed, than holds had reserved.",
        Scope.ACCOUNTS,
        f"""{LINES}
        SELECT 'accounts' AS "table", account_id::text AS id,
               format('at version %s there is %s held in it', version, held) AS wrong
        FROM lines WHERE held < 0
        """,
    ),
    Rule(
        "identifiers rise and times never fall along an account",
        "Every change of an account stands where it was made; none was put into its past.",
        Scope.ACCOUNTS,
        f"""{CHANGES}
        SELECT "table", coalesce(id::text, account_id::text) AS id, format(
            'at version %s of account %s it has an identifier or a time (%s) that an earlier version has passed',
            version, account_id, created_at) AS wrong
        FROM (
            SELECT *, max(id::text) OVER before AS highest_id, max(created_at) OVER before AS latest
            FROM changes WINDOW before AS (
                PARTITION BY account_id ORDER BY version ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        ) AS line
        WHERE id::text <= highest_id OR created_at < latest
        """,
    ),
)
