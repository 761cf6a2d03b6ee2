"""Accounts whose last change lies ahead of the database's clock: their own facts are lifted or refused, no others."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec import structs

from service.domain.accounts import AccountRevision
from service.domain.book import Answer
from service.domain.commands import AnyCommand, CaptureHold, ExpireHold, OpenHold
from service.domain.holds import Hold
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from service.engine.administration import Refused, revise_account
from service.engine.settle import rehearse, settle
from service.settings import Settings
from service.storage.database import Database
from service.storage.decisions import Key
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.engine.commands import CLIENT, posted, transfer, words
from tests.rows import MAIN, add_account, add_accounts

WIDE = 60.0
"""Seconds that are followed, where a test wants to have time."""


class Clerk:
    """Settles batches, sets accounts ahead as the owner of the tables may, and reads the clock."""

    def __init__(self, database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
        self.database = database
        self.settings = settings
        self._superuser = superuser

    async def settle(self, *units: Sequence[AnyCommand]) -> list[list[Answer]]:
        return await settle(self.database, self.settings, MAIN, units)

    async def set_ahead(self, account_id: UUID, seconds: float) -> datetime:
        last_change: datetime = await self._superuser.fetchval(
            "UPDATE funds.accounts SET updated_at = clock_timestamp() + $2 * interval '1 second' WHERE id = $1"
            " RETURNING updated_at",
            account_id,
            seconds,
        )
        return last_change

    async def clock(self) -> datetime:
        now: datetime = await self._superuser.fetchval("SELECT clock_timestamp()")
        return now

    async def decided(self) -> int:
        return int(await self._superuser.fetchval("SELECT count(*) FROM funds.decisions"))


@pytest.fixture
def clerk(engine_database: Database, settings: Settings, superuser: asyncpg.Connection) -> Clerk:
    return Clerk(engine_database, structs.replace(settings, clock_ahead_seconds_max=WIDE), superuser)


@pytest.fixture
def strict(engine_database: Database, settings: Settings, superuser: asyncpg.Connection) -> Clerk:
    return Clerk(engine_database, settings, superuser)


def opening(debit: UUID, credit: UUID, amount: int = 1, **terms: Any) -> OpenHold:
    sides = {"debit_account_id": debit, "credit_account_id": credit, "amount": amount, "currency": "USD"}
    return OpenHold.of(MAIN, CLIENT, f"open {terms} {amount}", **sides, **terms)


def capture(hold: Hold) -> CaptureHold:
    return CaptureHold.of(MAIN, CLIENT, "capture", hold_id=hold.id)


async def open_hold(clerk: Clerk, debit: UUID, credit: UUID, **terms: Any) -> Hold:
    [[answer]] = await clerk.settle([opening(debit, credit, **terms)])
    assert isinstance(answer.outcome, Hold), answer
    return answer.outcome


async def test_one_account_ahead_lifts_its_own_facts_alone(
    strict: Clerk, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b, c, d = await add_accounts(superuser, 4)
    ahead = await strict.set_ahead(a, 2)
    before = await strict.clock()
    answers = await strict.settle([transfer(c, d)], [transfer(a, b)], [transfer(d, c)], [transfer(b, c)])
    after = await strict.clock()

    others, own, others_again, dragged = posted(answers)
    for one in (others, others_again):
        assert before < one.created_at < after
    assert own.created_at == dragged.created_at == ahead + timedelta(microseconds=1)
    for one in posted(answers):
        assert before < one.effective_at < after, "the clock decides on value dates"
    last_changes = dict(await superuser.fetch("SELECT id, updated_at FROM funds.accounts"))
    assert last_changes == {a: own.created_at, b: own.created_at, c: own.created_at, d: others.created_at}

    more = posted(await strict.settle(*([transfer(*sides)] for sides in [(c, d), (a, b), (d, b), (b, a)])))
    assert min(one.id for one in more) > max(one.id for one in (own, dragged))
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("seconds", [6, 300, 7_200, 86_400 * 400])
async def test_what_is_too_far_ahead_is_refused_said_aloud_and_not_remembered(
    strict: Clerk, superuser: asyncpg.Connection, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    a, b, c, d = await add_accounts(superuser, 4)
    ahead = await strict.set_ahead(a, seconds)
    units = [[transfer(c, d)], [transfer(a, b)], [transfer(b, a), transfer(c, d)], [transfer(d, c)]]
    with caplog.at_level(logging.ERROR):
        answers = await strict.settle(*units)

    assert words(answers) == ["applied", "clock_behind", "clock_behind", "clock_behind", "applied"]
    assert await strict.decided() == 2
    assert max(one.created_at for one in posted(answers)) < await strict.clock()
    refusal = answers[1][0].outcome
    assert isinstance(refusal, Rejection)
    assert refusal.members["account_id"] == str(a)
    assert datetime.fromisoformat(refusal.members["last_change"]) == ahead
    assert refusal.members["ahead_seconds"] == pytest.approx(seconds, abs=5)
    [record] = caplog.records
    assert (record.__dict__["account_id"], record.__dict__["ledger_id"]) == (str(a), MAIN)
    assert record.__dict__["ahead_seconds"] == refusal.members["ahead_seconds"]

    await strict.set_ahead(a, -1)
    again = await strict.settle(*units)
    assert words(again) == ["replayed applied", "applied", "applied", "applied", "replayed applied"]


async def test_how_far_is_followed_is_a_setting(clerk: Clerk, superuser: asyncpg.Connection) -> None:
    a, b = await add_accounts(superuser, 2)
    ahead = await clerk.set_ahead(a, WIDE - 10)
    [made] = posted(await clerk.settle([transfer(a, b)]))
    assert made.created_at == ahead + timedelta(microseconds=1)
    await clerk.set_ahead(a, WIDE + 10)
    assert words(await clerk.settle([transfer(a, b)])) == ["clock_behind"]


async def test_a_group_has_one_place(clerk: Clerk, superuser: asyncpg.Connection, superuser_url: str) -> None:
    a, b, c = await add_accounts(superuser, 3)
    ahead = await clerk.set_ahead(a, 30)
    made = posted(await clerk.settle([transfer(b, c), transfer(a, b)]))
    assert {one.created_at for one in made} == {ahead + timedelta(microseconds=1)}
    await assert_ledger_is_sound(superuser_url)


async def test_no_hold_expires_early_beside_an_account_that_is_ahead(
    clerk: Clerk, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b, c, d = await add_accounts(superuser, 4)
    hold = await open_hold(clerk, c, d, expires_in_seconds=30)
    await clerk.set_ahead(a, 50)
    answers = await clerk.settle([transfer(a, b)], [ExpireHold(hold_id=hold.id)], [capture(hold)])
    assert isinstance(answers[1][0].outcome, Hold)
    assert answers[1][0].outcome.status == "open"
    captured = answers[2][0].outcome
    assert isinstance(captured, Transfer)
    assert captured.created_at < await clerk.clock() < hold.expires_at
    await assert_ledger_is_sound(superuser_url)


async def test_a_hold_expires_by_the_clock_and_not_by_the_order(
    clerk: Clerk, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    hold = await open_hold(clerk, a, b, expires_in_seconds=100)
    ahead = await clerk.set_ahead(a, 50)
    assert words(await clerk.settle([capture(hold)])) == ["applied"]
    short = await open_hold(clerk, a, b, expires_in_seconds=55)
    assert short.created_at == ahead + timedelta(microseconds=2)
    assert timedelta(seconds=54) < short.expires_at - await clerk.clock() < timedelta(seconds=55)
    await assert_ledger_is_sound(superuser_url)


async def test_nothing_of_a_hold_is_placed_behind_its_end(
    clerk: Clerk, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    hold = await open_hold(clerk, a, b, expires_in_seconds=40)
    await clerk.set_ahead(a, 50)
    answers = await clerk.settle([capture(hold)], [opening(a, b, expires_in_seconds=20)])
    assert words(answers) == ["clock_behind"] * 2
    assert await clerk.decided() == 1
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize(("seconds", "status"), [(40, "expired"), (400, "open")])
async def test_what_expired_holds_reserve_is_freed_as_far_as_the_clock_is_followed(
    clerk: Clerk, superuser: asyncpg.Connection, superuser_url: str, seconds: float, status: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    hold = await open_hold(clerk, a, b)
    await superuser.execute("UPDATE funds.holds SET expires_at = clock_timestamp()")
    await clerk.set_ahead(a, seconds)
    [[answer]] = await clerk.settle([ExpireHold(hold_id=hold.id)])
    assert isinstance(answer.outcome, Hold)
    assert answer.outcome.status == status
    await assert_ledger_is_sound(superuser_url)


async def test_a_dry_run_says_the_same(strict: Clerk, superuser: asyncpg.Connection) -> None:
    a, b, c = await add_accounts(superuser, 3)
    await strict.set_ahead(a, 60)
    units = [[transfer(a, b)], [transfer(b, c)]]
    answers = await rehearse(strict.database, strict.settings, MAIN, units)
    assert words(answers) == ["clock_behind", "applied"]


async def test_a_revision_is_placed_after_the_last_change_or_refused(
    strict: Clerk, superuser: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    [account_id] = await add_accounts(superuser, 1)
    for seconds, expected in ((2, "revised"), (60, "clock_behind"), (-1, "revised")):
        ahead = await strict.set_ahead(account_id, seconds)
        revised = await revise_account(
            strict.database, strict.settings, MAIN, account_id, AccountRevision(name=f"{seconds}"), expected_tags=None
        )
        if isinstance(revised, Refused):
            assert revised.rejection.code == expected
        else:
            assert expected == "revised"
            assert revised.row.updated_at > ahead
    assert [record.__dict__["account_id"] for record in caplog.records] == [str(account_id)]


@pytest.mark.parametrize("side", [0, 1])
async def test_a_revision_is_not_refused_for_good_by_what_the_clock_keeps_from_being_freed(
    strict: Clerk, superuser: asyncpg.Connection, side: int
) -> None:
    a, b = await add_accounts(superuser, 2)
    await open_hold(strict, a, b)
    await superuser.execute("UPDATE funds.holds SET expires_at = clock_timestamp()")
    ahead = (a, b)[side]
    key = Key(ledger_id=MAIN, client_id=CLIENT, idempotency_key="close", fingerprint=b"", operation="revise_account")
    for seconds, expected in ((60, "clock_behind"), (-1, "revised")):
        await strict.set_ahead(ahead, seconds)
        revised = await revise_account(
            strict.database, strict.settings, MAIN, a, AccountRevision(status="closed"), expected_tags=None, key=key
        )
        assert (revised.rejection.code if isinstance(revised, Refused) else "revised") == expected


@pytest.mark.parametrize("at_most", [False, True])
@pytest.mark.parametrize("holds_max", [1, 500])
async def test_nothing_is_decided_for_good_by_what_the_clock_keeps_from_being_freed(
    strict: Clerk, superuser: asyncpg.Connection, superuser_url: str, holds_max: int, *, at_most: bool
) -> None:
    """However many holds are expired at a time: those of one account are freed, those beside the other are not."""
    strict.settings = structs.replace(strict.settings, hold_sweep_holds_max=holds_max)
    source, b, c = await add_accounts(superuser, 3)
    a = await add_account(superuser, minimum_balance=0)
    assert words(await strict.settle([transfer(source, a, 30)])) == ["applied"]
    for amount, credit in enumerate((b, c, c), 1):
        await open_hold(strict, a, credit, amount=amount)
    await superuser.execute("UPDATE funds.holds SET expires_at = clock_timestamp()")
    await strict.set_ahead(b, 60)
    asked = transfer(a, source, 30, at_most=at_most)
    assert words(await strict.settle([asked])) == ["clock_behind"]
    assert words(await strict.settle([transfer(source, c), asked])) == ["clock_behind"] * 2
    await strict.set_ahead(b, -1)
    [made] = posted(await strict.settle([asked]))
    assert made.amount == 30
    await assert_ledger_is_sound(superuser_url)
