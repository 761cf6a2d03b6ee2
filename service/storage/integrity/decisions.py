"""The rules of decisions: everything was decided once, and every decision has what it made."""

from service.domain.integrity import Scope
from service.storage.integrity.rules import SLICE, Rule, misses_its_time

_IS_AUTHOR = """
    ({fact}.client_id, {fact}.idempotency_key) = (decision.client_id, decision.idempotency_key)
"""

RULES = (
    Rule(
        "every voided hold has exactly one decision",
        "Nothing that was reserved was freed by hand.",
        Scope.LEDGER,
        """
        SELECT 'holds' AS "table", hold.id::text AS id, format(
            'it should have one applied decision (void_hold) of its end, and has %s',
            count(decision.idempotency_key)) AS wrong
        FROM funds.holds AS hold
        LEFT JOIN funds.decisions AS decision
          ON decision.ledger_id = $1::integer AND decision.resource_id = hold.id AND decision.outcome = 'applied'
         AND decision.operation = 'void_hold' AND decision.created_at = hold.closed_at
        WHERE hold.ledger_id = $1::integer AND hold.status = 'voided'
        GROUP BY hold.id HAVING count(decision.idempotency_key) <> 1
        """,
    ),
    Rule(
        "every applied decision has what it made",
        "No transfer, hold, account or ledger was deleted, and none is another's.",
        Scope.DECISIONS,
        f"""
        SELECT 'decisions' AS "table", decision.client_id || ' ' || decision.idempotency_key AS id, format(
            'it was applied (%s), and what it made is not there, not of its time or not by its client: %s',
            decision.operation,
            coalesce(decision.resource_id::text, decision.resource ->> 'name', 'it names nothing')) AS wrong
        FROM ({SLICE.decisions}) AS decision
        LEFT JOIN funds.transfers AS transfer
          ON transfer.ledger_id = $1::integer AND transfer.id = decision.resource_id
        LEFT JOIN funds.holds AS hold ON hold.ledger_id = $1::integer AND hold.id = decision.resource_id
        LEFT JOIN funds.accounts AS account ON account.ledger_id = $1::integer AND account.id = decision.resource_id
        LEFT JOIN funds.ledgers AS ledger
          ON $1::integer = 0 AND decision.operation = 'create_ledger' AND ledger.name = decision.resource ->> 'name'
        LEFT JOIN funds.history AS entry
          ON decision.operation = 'close_period' AND entry.ledger_id = $1::integer AND entry.id = decision.resource_id
        WHERE decision.outcome = 'applied' AND NOT coalesce(CASE decision.operation
            WHEN 'post_transfer' THEN transfer.created_at = decision.created_at AND {_IS_AUTHOR.format(fact="transfer")}
             AND transfer.hold_id IS NULL AND transfer.reverses_id IS NULL
            WHEN 'capture_hold' THEN transfer.created_at = decision.created_at AND transfer.hold_id IS NOT NULL
             AND {_IS_AUTHOR.format(fact="transfer")}
            WHEN 'reverse_transfer' THEN transfer.created_at = decision.created_at AND transfer.reverses_id IS NOT NULL
             AND {_IS_AUTHOR.format(fact="transfer")}
            WHEN 'open_hold' THEN hold.created_at = decision.created_at AND {_IS_AUTHOR.format(fact="hold")}
            WHEN 'void_hold' THEN hold.closed_at = decision.created_at AND hold.status = 'voided'
            WHEN 'create_account' THEN account.id IS NOT NULL
            WHEN 'create_ledger' THEN ledger.created_at = (decision.resource ->> 'created_at')::timestamptz
             AND ledger.description IS NOT DISTINCT FROM decision.resource ->> 'description'
            WHEN 'close_period' THEN entry.created_at = decision.created_at
             AND entry.type IN ('period.closed', 'period.reopened')
            WHEN 'revise_account' THEN account.updated_at >= decision.created_at
        END, false)
        """,
    ),
    Rule(
        "what was rejected or fenced made nothing",
        "Whoever was told no, or took a key back, can rely on it.",
        Scope.DECISIONS,
        f"""
        SELECT 'decisions' AS "table", client_id || ' ' || idempotency_key AS id, format(
            'it is %s, and stands for %s with %s', outcome, operation, coalesce(resource_id::text, 'nothing')) AS wrong
        FROM ({SLICE.decisions}) AS decision
        WHERE outcome <> 'applied' AND resource_id IS NOT NULL OR (outcome = 'fenced') <> (operation = 'fence_key')
        """,
    ),
)

OPENINGS = Rule(
    "every account has the decision that opened it",
    "Nobody put an account into the table by hand.",
    Scope.LEDGER,
    """
    SELECT 'accounts' AS "table", account.id::text AS id,
           format('it should have one decision that opened it, and has %s', count(decision.idempotency_key)) AS wrong
    FROM funds.accounts AS account
    LEFT JOIN funds.decisions AS decision
      ON decision.ledger_id = $1::integer AND decision.resource_id = account.id AND decision.outcome = 'applied'
     AND decision.operation = 'create_account'
    WHERE account.ledger_id = $1::integer
    GROUP BY account.id HAVING count(decision.idempotency_key) <> 1
    """,
)

OPENED_AT = Rule(
    "accounts were opened when their decisions say so, and have identifiers of then",
    "No account's created_at was edited.",
    Scope.DECISIONS,
    f"""
    SELECT 'accounts' AS "table", account.id::text AS id, format(
        'it was opened at %s by its own word, and the decision of %s says at %s',
        account.created_at, decision.created_at, decision.resource ->> 'created_at') AS wrong
    FROM ({SLICE.decisions}) AS decision
    JOIN funds.accounts AS account ON account.ledger_id = $1::integer AND account.id = decision.resource_id
    WHERE decision.operation = 'create_account' AND decision.outcome = 'applied'
      AND (account.created_at <> (decision.resource ->> 'created_at')::timestamptz
           OR {misses_its_time("account.id", "decision.created_at")})
    """,
)
