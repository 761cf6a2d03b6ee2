"""Whether the books are sound after anything has happened, asked with plain SQL and nothing of the service.

All rules see one snapshot, so they may be asked under load too.
"""

from collections.abc import Collection, Mapping
from typing import Any

import asyncpg

from tests.concurrency.rules import CONSTANT_BOUNDS, RULES


async def assert_ledger_is_sound(
    url: str, *, ledgers: Collection[str] | None = None, bounds_were_constant: bool = False
) -> None:
    """Assert every rule on ``ledgers`` (names; None for all) of the database at ``url``.

    ``bounds_were_constant``: no bound of theirs was ever revised, so the whole history must lie within them.
    """
    rules = RULES | CONSTANT_BOUNDS if bounds_were_constant else RULES
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            broken = await broken_rules(connection, rules, ledgers)
    finally:
        await connection.close()
    assert not broken, f"the books are broken: {broken}"


async def broken_rules(
    connection: asyncpg.Connection, rules: Mapping[str, str], ledgers: Collection[str] | None
) -> dict[str, list[dict[str, Any]]]:
    """Return which of ``rules`` are broken in ``ledgers`` (names; None for all), each with some of what breaks it."""
    found = await connection.fetch("SELECT id, name FROM funds.ledgers")
    ids = [row["id"] for row in found if ledgers is None or row["name"] in ledgers]
    assert ledgers is None or len(ids) == len(set(ledgers)), f"ledgers are missing: {ledgers}"
    return {
        rule: [dict(row) for row in rows[:5]]
        for rule, query in rules.items()
        if (rows := await connection.fetch(query, ids))
    }
