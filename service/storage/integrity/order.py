"""The rules of the order: where the history of a ledger ends."""

from service.domain.integrity import Scope
from service.storage.integrity.rules import Rule

RULES = (
    Rule(
        "nothing of a ledger is later than its head",
        "Whoever has seen a ledger up to its head has seen everything, and all that comes will stand behind it.",
        Scope.LEDGER,
        """
        SELECT late."table", late.id, format(
            'it is of %s, and the head of its ledger is at %s', late.at,
            coalesce(head.last_at::text, 'no place, because there is none')) AS wrong
        FROM (
            SELECT 'ledgers' AS "table", name AS id, created_at AS at FROM funds.ledgers WHERE id = $1::integer
            UNION ALL
            SELECT 'accounts', id::text, updated_at FROM funds.accounts WHERE ledger_id = $1::integer
            UNION ALL
            SELECT 'transfers', id::text, created_at FROM funds.transfers WHERE ledger_id = $1::integer
            UNION ALL
            SELECT 'holds', id::text, greatest(created_at, closed_at) FROM funds.holds WHERE ledger_id = $1::integer
            UNION ALL
            SELECT 'decisions', client_id || ' ' || idempotency_key, created_at FROM funds.decisions
            WHERE ledger_id = $1::integer
            UNION ALL
            SELECT 'history', id::text, created_at FROM funds.history WHERE ledger_id = $1::integer
        ) AS late
        LEFT JOIN funds.ledger_heads AS head ON head.ledger_id = $1::integer
        WHERE head.last_at IS NULL OR late.at > head.last_at
        """,
    ),
    Rule(
        "every head is of a ledger",
        "No ledger was taken away from what happened in it, which nothing would seal or verify any more.",
        Scope.LEDGER,
        """
        SELECT 'ledger_heads' AS "table", head.ledger_id::text AS id,
               'there is no such ledger: what is stored of it is neither sealed nor verified' AS wrong
        FROM funds.ledger_heads AS head
        WHERE $1::integer = 0 AND head.ledger_id <> 0
          AND NOT EXISTS (SELECT FROM funds.ledgers AS ledger WHERE ledger.id = head.ledger_id)
        """,
    ),
    Rule(
        "a head lies ahead of the clock only where something of its ledger does",
        "Nobody stopped a ledger by moving its head to where nothing can follow it.",
        Scope.LEDGER,
        """
        SELECT 'ledger_heads' AS "table", head.ledger_id::text AS id, format(
            'it is at %s, ahead of the clock, and the last entry of its ledger is of %s', head.last_at,
            coalesce(latest.at::text, 'no time')) AS wrong
        FROM funds.ledger_heads AS head
        CROSS JOIN LATERAL (
            SELECT greatest(
                (SELECT created_at FROM funds.transfers WHERE ledger_id = $1::integer ORDER BY id DESC LIMIT 1),
                (SELECT created_at FROM funds.holds WHERE ledger_id = $1::integer ORDER BY id DESC LIMIT 1),
                (SELECT created_at FROM funds.history WHERE ledger_id = $1::integer ORDER BY id DESC LIMIT 1)
            ) AS at
        ) AS latest
        WHERE head.ledger_id = $1::integer AND head.last_at > clock_timestamp()
          AND head.last_at > coalesce(latest.at, '-infinity') + interval '1 second'
        """,
    ),
)
