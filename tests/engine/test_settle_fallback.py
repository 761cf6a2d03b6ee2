"""The set-based write meets a row that the service did not write: the savepoint gives way, the neighbours stand."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from service.domain.book import Answer
from service.engine.settle import settle
from service.settings import Settings
from service.storage import constraints
from service.storage.database import Database
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.outsider import decided
from tests.engine.commands import posted, transfer, words
from tests.rows import MAIN, add_account, add_accounts


class Sabotage(NamedTuple):
    """What someone outside the service does so that transfers of ``{bad}`` are refused, and how it is undone."""

    reason: str
    begin: str
    end: str


def _occupied(side: str, reason: str) -> Sabotage:
    debit, credit = ("{bad}", "{outside}") if side == "debit" else ("{outside}", "{bad}")
    return Sabotage(
        reason,
        "INSERT INTO funds.transfers (ledger_id, id, debit_account_id, credit_account_id, amount, currency,"
        " debit_account_version, credit_account_version, debit_balance_after, credit_balance_after, metadata,"
        " effective_at, created_at)"
        f" VALUES (1, gen_random_uuid(), '{debit}', '{credit}', 1, 'USD', 1, 1, -1, 1, '{{{{}}}}', now(), now())",
        "DELETE FROM funds.transfers WHERE '{outside}' IN (debit_account_id, credit_account_id)",
    )


def _triggered(event: str, condition: str, answer: str, reason: str) -> Sabotage:
    return Sabotage(
        reason,
        "CREATE FUNCTION public.sabotage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF {condition} THEN {answer}; END IF; RETURN NEW; END $$;"
        f"CREATE TRIGGER sabotage BEFORE {event} FOR EACH ROW EXECUTE FUNCTION public.sabotage()",
        "DROP FUNCTION public.sabotage() CASCADE",
    )


_OF_BAD = "'{bad}' IN (NEW.debit_account_id, NEW.credit_account_id)"

SABOTAGES = {
    "the debit's version is taken": _occupied("debit", constraints.UQ_TRANSFERS_DEBIT_VERSION),
    "the credit's version is taken": _occupied("credit", constraints.UQ_TRANSFERS_CREDIT_VERSION),
    "a rule on counters that only the database has": Sabotage(
        "ck_outside",
        "ALTER TABLE funds.accounts ADD CONSTRAINT ck_outside CHECK (id <> '{bad}' OR version = 0)",
        "ALTER TABLE funds.accounts DROP CONSTRAINT ck_outside",
    ),
    "a transfer is refused by an error without a constraint": _triggered(
        "INSERT ON funds.transfers", _OF_BAD, "RAISE 'no'", "RaiseError"
    ),
    "an update of counters gets lost": _triggered(
        "UPDATE ON funds.accounts", "NEW.id = '{bad}'", "RETURN NULL", "AssertionError"
    ),
}


every_sabotage = pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES.keys())


@asynccontextmanager
async def sabotaged(superuser: asyncpg.Connection, sabotage: Sabotage, bad: UUID) -> AsyncIterator[None]:
    outside = await add_account(superuser)
    await superuser.execute(sabotage.begin.format(bad=bad, outside=outside))
    try:
        yield
    finally:
        await superuser.execute(sabotage.end.format(bad=bad, outside=outside))


def _pair(sabotage: Sabotage, bad: UUID, good: UUID) -> tuple[UUID, UUID]:
    """The accounts of the command that meets the sabotage: it may look at one side only."""
    return (good, bad) if sabotage.reason == constraints.UQ_TRANSFERS_CREDIT_VERSION else (bad, good)


def _lines(answers: Sequence[Sequence[Answer]], account: UUID) -> list[int]:
    """The account's versions in the answers, in order."""
    return [
        one.debit_account_version if one.debit_account_id == account else one.credit_account_version
        for one in posted(answers)
        if account in {one.debit_account_id, one.credit_account_id}
    ]


@every_sabotage
async def test_the_neighbours_of_a_refused_command_are_applied(
    engine_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    sabotage: Sabotage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They share accounts with it, before and after it in the batch; its own accounts' versions show no gap."""
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    bad = await add_account(superuser)
    units = [
        [transfer(source, a, 10)],
        [transfer(*_pair(sabotage, bad, source), 4)],
        [transfer(a, b, 6)],
        [transfer(b, a, 7)],
        [transfer(b, source, 1)],
    ]
    keys = [unit[0].idempotency_key for unit in units]
    expected = ["applied", "internal_error", "applied", "insufficient_funds", "applied"]

    async with sabotaged(superuser, sabotage, bad):
        with caplog.at_level(logging.WARNING, "service.engine.settle"):
            answers = await settle(engine_database, settings, MAIN, units)
        assert await decided(superuser_url, keys) == {*keys} - {keys[1]}
        untouched = await superuser.fetchrow("SELECT * FROM funds.accounts WHERE id = $1", bad)

    assert words(answers) == expected
    assert [_lines(answers, account) for account in (source, a, b)] == [[1, 2], [1, 2], [1, 2]]
    assert untouched is not None
    assert (untouched["version"], untouched["debits_posted"], untouched["credits_posted"]) == (0, 0, 0)
    assert [(record.levelname, vars(record)["reason"]) for record in caplog.records] == [
        ("WARNING", sabotage.reason),
        ("ERROR", sabotage.reason),
    ]
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


@every_sabotage
async def test_nothing_is_remembered_of_a_refused_command(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str, sabotage: Sabotage
) -> None:
    """An internal error is no outcome: once the obstacle is gone, the same key is applied."""
    bad, good = await add_accounts(superuser, 2)
    units = [[transfer(*_pair(sabotage, bad, good))]]
    async with sabotaged(superuser, sabotage, bad):
        for _ in range(2):
            assert words(await settle(engine_database, settings, MAIN, units)) == ["internal_error"]
    assert await decided(superuser_url, [units[0][0].idempotency_key]) == set()

    assert words(await settle(engine_database, settings, MAIN, units)) == ["applied"]
    assert words(await settle(engine_database, settings, MAIN, units)) == ["replayed applied"]
    await assert_ledger_is_sound(superuser_url)


@every_sabotage
async def test_a_unit_falls_as_a_whole(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str, sabotage: Sabotage
) -> None:
    """One command of the unit is refused by the database: its companions are not applied, its neighbours are."""
    a, b, c, bad = await add_accounts(superuser, 4)
    unit = [transfer(a, b), transfer(*_pair(sabotage, bad, c)), transfer(b, c)]
    units = [[transfer(a, c)], unit, [transfer(c, b)]]
    keys = [command.idempotency_key for command in unit]

    async with sabotaged(superuser, sabotage, bad):
        answers = await settle(engine_database, settings, MAIN, units)

    assert words(answers) == ["applied", *["internal_error"] * 3, "applied"]
    assert await decided(superuser_url, keys) == set()
    assert (_lines(answers, a), _lines(answers, b), _lines(answers, c)) == ([1], [1], [1, 2])
    await assert_ledger_is_sound(superuser_url)


async def test_keys_repeated_in_the_batch_are_still_one(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b, bad = await add_accounts(superuser, 3)
    once, refused = transfer(a, b), transfer(bad, b)
    async with sabotaged(superuser, SABOTAGES["the debit's version is taken"], bad):
        answers = await settle(engine_database, settings, MAIN, [[once], [refused], [once], [refused]])

    assert words(answers) == ["applied", "internal_error", "replayed applied", "internal_error"]
    await assert_ledger_is_sound(superuser_url)
