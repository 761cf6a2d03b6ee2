"""Checks that ledgers are sound, with plain SQL on a connection of the test's own.

The rules are the product's (``service.storage.integrity``): what auditors run is what these tests rely on. Of the
service nothing else is used: no session, no slices and no parameters of its own. Here each rule is asked of a whole
ledger, as a text, by another client. ``tests/concurrency/test_rules.py`` shows of each rule that it notices its own
kind of damage; ``journal.py`` (what callers were told) and ``tests/property/model.py`` share nothing with the rules.

All rules see one snapshot, so they may be asked under load too.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

import asyncpg

from service.domain.history import INSTALLATION
from service.domain.integrity import Scope
from service.storage.integrity import OPENINGS, RULES, Rule
from service.storage.integrity.accounts import LINES

CONSTANT_BOUNDS = Rule(
    "no available balance was ever below the minimum, no balance above the maximum",
    "Of ledgers whose accounts' bounds were never revised.",
    Scope.ACCOUNTS,
    f"""{LINES}
        SELECT 'accounts' AS "table", account_id::text AS id, format('%s of %s held', held, balance) AS wrong
        FROM lines WHERE balance - held < minimum_balance OR balance > maximum_balance
    """,
)

_ALWAYS = datetime.min.replace(tzinfo=UTC)
_LAST_DECISION = """
    SELECT client_id, idempotency_key FROM funds.decisions WHERE ledger_id = $1
    ORDER BY client_id DESC, idempotency_key DESC LIMIT 1
"""


async def assert_ledger_is_sound(
    url: str,
    *,
    ledgers: Collection[str] | None = None,
    bounds_were_constant: bool = False,
    accounts_were_opened: bool = False,
) -> None:
    """Assert every rule on ``ledgers`` (names; None for all, and the installation) of the database at ``url``.

    ``bounds_were_constant``: no bound of theirs was ever revised, so the whole history must lie within them.
    ``accounts_were_opened``: by the service, and not put into the table by the test.
    """
    rules = [*RULES, *(OPENINGS if accounts_were_opened else ()), *((CONSTANT_BOUNDS,) if bounds_were_constant else ())]
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            broken = await broken_rules(connection, rules, ledgers)
    finally:
        await connection.close()
    assert not broken, f"the ledgers are broken: {broken}"


async def broken_rules(
    connection: asyncpg.Connection, rules: Iterable[Rule], ledgers: Collection[str] | None
) -> dict[str, list[dict[str, Any]]]:
    """Return which of ``rules`` are broken in ``ledgers`` (names; None for all, and the installation), each with some
    of what breaks it.
    """
    found = await connection.fetch("SELECT id, name FROM funds.ledgers")
    ids = [row["id"] for row in found if ledgers is None or row["name"] in ledgers]
    assert ledgers is None or len(ids) == len(set(ledgers)), f"ledgers are missing: {ledgers}"
    if ledgers is None:
        ids.append(INSTALLATION.id)
    broken = defaultdict(list)
    for ledger_id in ids:
        for rule in rules:
            bounds = await _everything(connection, rule.scope, ledger_id)
            for row in (await connection.fetch(rule.query, ledger_id, *bounds))[:5]:
                broken[rule.name].append(dict(row))
    return dict(broken)


async def account_lines(connection: asyncpg.Connection, ledger_id: int, account: str) -> list[asyncpg.Record]:
    """Return every change of ``account`` by version, with the balance and what was held after it."""
    bounds = await _everything(connection, Scope.ACCOUNTS, ledger_id)
    query = f"{LINES} SELECT * FROM lines WHERE account_id = $5::text::uuid ORDER BY version"
    rows: list[asyncpg.Record] = await connection.fetch(query, ledger_id, *bounds, account)
    return rows


async def _everything(connection: asyncpg.Connection, scope: Scope, ledger_id: int) -> tuple[Any, ...]:
    """Return the bounds of a slice that is the whole ledger."""
    if scope is Scope.LEDGER:
        return ()
    last = scope.last or await connection.fetchrow(_LAST_DECISION, ledger_id) or scope.first
    return (*scope.first, *last, _ALWAYS)
