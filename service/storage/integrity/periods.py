"""The rules of closed periods: what the head says of them, and what is dated into them."""

from service.domain.integrity import Scope
from service.storage.integrity.rules import SLICE, Rule

# Entries about a ledger as a whole have the subject of domain.periods.LEDGER_ITSELF.
_CLOSINGS = """
    SELECT id, (data ->> 'closed_until')::timestamptz AS closed_until, data ->> 'late_entries' AS late_entries,
           lead(id) OVER (ORDER BY id) AS next_id
    FROM funds.history
    WHERE ledger_id = $1::integer AND subject_id = '00000000-0000-0000-0000-000000000000'
      AND type IN ('period.closed', 'period.reopened')
"""

RULES = (
    Rule(
        "no transfer is dated into a period that was closed, and what was dated forward is at its end",
        "What was looked at when a period was closed is what is in it.",
        Scope.TRANSFERS,
        f"""
        WITH closings AS MATERIALIZED ({_CLOSINGS})
        SELECT 'transfers' AS "table", fact.id::text AS id, format(
            'its value date is %s (%s was asked for), and value dates before %s were closed (late entries: %s)',
            fact.effective_at, coalesce(fact.requested_effective_at::text, 'no other'),
            coalesce(closing.closed_until::text, 'none'), coalesce(closing.late_entries, 'none')) AS wrong
        FROM ({SLICE.transfers}) AS fact
        LEFT JOIN closings AS closing
          ON closing.id < fact.id AND (closing.next_id IS NULL OR closing.next_id > fact.id)
        WHERE CASE
            WHEN fact.requested_effective_at IS NULL THEN fact.effective_at < closing.closed_until
            ELSE (fact.effective_at = closing.closed_until AND fact.requested_effective_at < closing.closed_until
                  AND closing.late_entries = 'forward') IS NOT TRUE
        END
        """,
    ),
    Rule(
        "a head says of closed periods what the last closing made of them",
        "Nobody opened a period, or closed one, but by a closing with an author.",
        Scope.LEDGER,
        f"""
        SELECT 'ledger_heads' AS "table", head.ledger_id::text AS id, format(
            'it is closed until %s (late entries: %s), and by its history until %s (%s)',
            coalesce(head.closed_until::text, 'no date'), coalesce(head.late_entries, 'none'),
            coalesce(closing.closed_until::text, 'no date'), coalesce(closing.late_entries, 'none')) AS wrong
        FROM funds.ledger_heads AS head
        LEFT JOIN ({_CLOSINGS}) AS closing ON closing.next_id IS NULL
        WHERE head.ledger_id = $1::integer
          AND (head.closed_until, head.late_entries) IS DISTINCT FROM (
              closing.closed_until, CASE WHEN closing.closed_until IS NOT NULL THEN closing.late_entries END
          )
        """,
    ),
)
