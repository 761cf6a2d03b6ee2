"""What must be true of any ledger, as SQL: the rules, and the slices of which they can be asked."""

from service.storage.integrity import accounts, decisions, facts, history, order, periods
from service.storage.integrity.rules import Rule

RULES: tuple[Rule, ...] = (
    *accounts.RULES,
    *facts.RULES,
    *history.RULES,
    *decisions.RULES,
    *order.RULES,
    *periods.RULES,
)
"""The rules of every ledger."""

OPENINGS: tuple[Rule, ...] = (decisions.OPENINGS, decisions.OPENED_AT, *history.OF_ACCOUNTS, history.OF_LEDGERS)
"""The rules of ledgers that the service created, and whose accounts it opened."""

__all__ = ["OPENINGS", "RULES", "Rule"]
