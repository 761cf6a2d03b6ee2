"""The database refuses the set of a batch: the savepoint rolls back, and all groups but the faulty one apply."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from service.domain.decisions import CommandAnswer
from service.settings import Settings
from service.storage import constraints
from service.storage.database import Database
from tests.support.commands import posted, transfer, words
from tests.support.committing import commit_batch
from tests.support.invariants import assert_ledger_is_sound
from tests.support.other_session import decided
from tests.support.rows import MAIN, add_account, add_accounts


class Sabotage(NamedTuple):
    """SQL of another user of the database that makes it refuse transfers of account ``{bad}``, and SQL to undo it."""

    reason: str
    begin: str
    end: str


def _occupied(side: str, reason: str) -> Sabotage:
    debit, credit = ("{bad}", "{outside}") if side == "debit" else ("{outside}", "{bad}")
    return Sabotage(
        reason,
        "INSERT INTO funds.transfers (ledger_id, id, debit_account_id, credit_account_id, amount, currency,"
        " debit_account_version, credit_account_version, debit_balance_after, credit_balance_after, metadata,"
        " effective_at, created_at, client_id, idempotency_key)"
        f" VALUES (1, gen_random_uuid(), '{debit}', '{credit}', 1, 'USD', 1, 1, -1, 1, '{{{{}}}}', now(), now(),"
        " 'nobody', 'key')",
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
        "UPDATE ON funds.accounts", "NEW.id = '{bad}'", "RETURN NULL", "UnexpectedRowCountError"
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
    """Return the accounts of the command that the database refuses: some sabotage is for one side only."""
    return (good, bad) if sabotage.reason == constraints.UQ_TRANSFERS_CREDIT_VERSION else (bad, good)


def _lines(answers: Sequence[Sequence[CommandAnswer]], account: UUID) -> list[int]:
    """Return the account's versions in the answers, in order."""
    return [
        one.debit_account_version if one.debit_account_id == account else one.credit_account_version
        for one in posted(answers)
        if account in {one.debit_account_id, one.credit_account_id}
    ]


@every_sabotage
async def test_the_neighbors_of_a_command_that_the_database_refuses_are_applied(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    sabotage: Sabotage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The neighbors share accounts with the refused command, before and after it in the batch. The versions of its
    accounts have no gap.
    """
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    bad = await add_account(superuser)
    groups = [
        [transfer(source, a, 10)],
        [transfer(*_pair(sabotage, bad, source), 4)],
        [transfer(a, b, 6)],
        [transfer(b, a, 7)],
        [transfer(b, source, 1)],
    ]
    keys = [group[0].idempotency_key for group in groups]
    expected = ["applied", "internal_error", "applied", "insufficient_funds", "applied"]

    async with sabotaged(superuser, sabotage, bad):
        with caplog.at_level(logging.WARNING, "service.posting.batch"):
            answers = await commit_batch(batch_database, settings, MAIN, groups)
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
async def test_a_command_that_the_database_refuses_is_not_remembered(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str, sabotage: Sabotage
) -> None:
    """An internal error is no decision: once the cause is gone, a command under the same key is applied."""
    bad, good = await add_accounts(superuser, 2)
    groups = [[transfer(*_pair(sabotage, bad, good))]]
    async with sabotaged(superuser, sabotage, bad):
        for _ in range(2):
            assert words(await commit_batch(batch_database, settings, MAIN, groups)) == ["internal_error"]
    assert await decided(superuser_url, [groups[0][0].idempotency_key]) == set()

    assert words(await commit_batch(batch_database, settings, MAIN, groups)) == ["applied"]
    assert words(await commit_batch(batch_database, settings, MAIN, groups)) == ["replayed applied"]
    await assert_ledger_is_sound(superuser_url)


@every_sabotage
async def test_a_group_fails_as_a_whole(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str, sabotage: Sabotage
) -> None:
    """The database refuses one command of a group: the rest of the group is not applied, the other groups are."""
    a, b, c, bad = await add_accounts(superuser, 4)
    group = [transfer(a, b), transfer(*_pair(sabotage, bad, c)), transfer(b, c)]
    groups = [[transfer(a, c)], group, [transfer(c, b)]]
    keys = [command.idempotency_key for command in group]

    async with sabotaged(superuser, sabotage, bad):
        answers = await commit_batch(batch_database, settings, MAIN, groups)

    assert words(answers) == ["applied", *["internal_error"] * 3, "applied"]
    assert await decided(superuser_url, keys) == set()
    assert (_lines(answers, a), _lines(answers, b), _lines(answers, c)) == ([1], [1], [1, 2])
    await assert_ledger_is_sound(superuser_url)


async def test_keys_repeated_in_the_batch_are_still_one(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b, bad = await add_accounts(superuser, 3)
    once, refused = transfer(a, b), transfer(bad, b)
    async with sabotaged(superuser, SABOTAGES["the debit's version is taken"], bad):
        answers = await commit_batch(batch_database, settings, MAIN, [[once], [refused], [once], [refused]])

    assert words(answers) == ["applied", "internal_error", "replayed applied", "internal_error"]
    await assert_ledger_is_sound(superuser_url)
