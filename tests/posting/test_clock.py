"""Ledgers whose last change is ahead of the database's clock: what follows is placed after it, or rejected for now."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec import structs

from service.domain.accounts import AccountRevision
from service.domain.commands import AnyCommand, CaptureHold, ExpireHold, FenceKey
from service.domain.decisions import CommandAnswer, Key
from service.domain.holds import Hold
from service.domain.rejections import Rejection
from service.settings import Settings
from service.storage.database import Database
from tests.support.commands import CLIENT, opening, posted, transfer, words
from tests.support.committing import commit_batch, dry_run, revise_account
from tests.support.invariants import assert_ledger_is_sound
from tests.support.rejections import told
from tests.support.rows import MAIN, add_account, add_accounts, add_ledger, set_head_ahead

WIDE = 60.0
"""How far ahead of the clock, in seconds, a ledger may be in tests that need time."""


class Posting:
    """Commits batches, sets the ledger ahead of the clock as a superuser can, and reads the clock."""

    def __init__(self, database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
        self.database = database
        self.settings = settings
        self._superuser = superuser

    async def commit_batch(self, *groups: Sequence[AnyCommand]) -> list[list[CommandAnswer]]:
        return await commit_batch(self.database, self.settings, MAIN, groups)

    async def set_ahead(self, seconds: float) -> datetime:
        return await set_head_ahead(self._superuser, seconds)

    async def put_head_back(self) -> None:
        """Put the head where the ledger's last entry is, as an operator would who finds it far ahead."""
        latest = " UNION ALL ".join(
            f"SELECT max(created_at) AS at FROM funds.{table} WHERE ledger_id = $1"
            for table in ("transfers", "holds", "history")
        )
        await self._superuser.execute(
            f"UPDATE funds.ledger_heads SET last_at = (SELECT max(at) FROM ({latest}) AS facts) WHERE ledger_id = $1",
            MAIN,
        )

    async def clock(self) -> datetime:
        now: datetime = await self._superuser.fetchval("SELECT clock_timestamp()")
        return now

    async def decided(self) -> int:
        return int(await self._superuser.fetchval("SELECT count(*) FROM funds.decisions"))


@pytest.fixture
def posting(batch_database: Database, settings: Settings, superuser: asyncpg.Connection) -> Posting:
    return Posting(batch_database, structs.replace(settings, clock_ahead_seconds_max=WIDE), superuser)


@pytest.fixture
def strict(batch_database: Database, settings: Settings, superuser: asyncpg.Connection) -> Posting:
    return Posting(batch_database, settings, superuser)


def capture(hold: Hold) -> CaptureHold:
    return CaptureHold(ledger_id=MAIN, client_id=CLIENT, idempotency_key="capture", hold_id=hold.id)


def fence(key: str) -> FenceKey:
    return FenceKey(ledger_id=MAIN, client_id=CLIENT, idempotency_key=key)


async def open_hold(posting: Posting, debit: UUID, credit: UUID, **terms: Any) -> Hold:
    [[answer]] = await posting.commit_batch([opening(debit, credit, **terms)])
    assert isinstance(answer.result, Hold), answer
    return answer.result


async def test_the_order_of_the_whole_ledger_goes_on_behind_its_last_place(
    strict: Posting, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b, c, d = await add_accounts(superuser, 4)
    ahead = await strict.set_ahead(2)
    first = posted(await strict.commit_batch([transfer(c, d)], [transfer(a, b)]))
    second = posted(await strict.commit_batch([transfer(b, c)]))

    assert {one.created_at for one in first} == {ahead + timedelta(microseconds=1)}
    assert {one.created_at for one in second} == {ahead + timedelta(microseconds=2)}
    assert sorted(one.id for one in first + second) == [one.id for one in first + second]
    for one in first + second:
        assert one.effective_at == one.created_at, "what has no value date of its own is not dated apart"
    await assert_ledger_is_sound(superuser_url)


async def test_another_ledger_is_not_concerned(strict: Posting, superuser: asyncpg.Connection) -> None:
    other = await add_ledger(superuser, "other")
    a, b = await add_accounts(superuser, 2, ledger_id=other)
    await strict.set_ahead(3_600)
    command = structs.replace(transfer(a, b), ledger_id=other)
    [made] = posted(await commit_batch(strict.database, strict.settings, other, [[command]]))
    assert made.created_at < await strict.clock()


@pytest.mark.parametrize("seconds", [6, 300, 7_200, 86_400 * 400])
async def test_what_is_too_far_ahead_is_rejected_and_logged_and_not_remembered(
    strict: Posting, superuser: asyncpg.Connection, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    a, b = await add_accounts(superuser, 2)
    before: list[AnyCommand] = [transfer(a, b)]
    await strict.commit_batch(before)
    ahead = await strict.set_ahead(seconds)
    groups: list[list[AnyCommand]] = [
        before,
        [transfer(a, b)],
        [transfer(b, a), transfer(a, b)],
        [fence("key")],
        [transfer(a, a)],
    ]
    with caplog.at_level(logging.ERROR):
        answers = await strict.commit_batch(*groups)

    assert words(answers) == ["replayed applied"] + ["clock_behind"] * 5
    assert await strict.decided() == 1
    assert await superuser.fetchval("SELECT last_at FROM funds.ledger_heads WHERE ledger_id = $1", MAIN) == ahead
    rejection = answers[1][0].result
    assert isinstance(rejection, Rejection)
    assert datetime.fromisoformat(told(rejection)["last_change"]) == ahead
    assert told(rejection)["ahead_seconds"] == pytest.approx(seconds, abs=5)
    [record] = caplog.records
    assert record.__dict__["ledger_id"] == MAIN
    assert record.__dict__["ahead_seconds"] == told(rejection)["ahead_seconds"]

    await strict.set_ahead(-1)
    again = await strict.commit_batch(*groups)
    assert words(again) == ["replayed applied", "applied", "applied", "applied", "fenced", "same_account"]


async def test_how_far_is_followed_is_a_setting(posting: Posting, superuser: asyncpg.Connection) -> None:
    a, b = await add_accounts(superuser, 2)
    ahead = await posting.set_ahead(WIDE - 10)
    [made] = posted(await posting.commit_batch([transfer(a, b)]))
    assert made.created_at == ahead + timedelta(microseconds=1)
    await posting.set_ahead(WIDE + 10)
    assert words(await posting.commit_batch([transfer(a, b)])) == ["clock_behind"]


async def test_a_hold_expires_by_the_clock_and_not_by_the_order(
    posting: Posting, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    hold = await open_hold(posting, a, b, expires_in_seconds=100)
    ahead = await posting.set_ahead(50)
    [[expired], [captured]] = await posting.commit_batch([ExpireHold(hold_id=hold.id)], [capture(hold)])
    assert isinstance(expired.result, Hold)
    assert expired.result.status == "open"
    assert words([[captured]]) == ["applied"]
    short = await open_hold(posting, a, b, expires_in_seconds=55)
    assert short.created_at == ahead + timedelta(microseconds=2)
    assert timedelta(seconds=54) < short.expires_at - await posting.clock() < timedelta(seconds=55)
    await assert_ledger_is_sound(superuser_url)


async def test_nothing_of_a_hold_is_placed_behind_its_end(
    posting: Posting, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    hold = await open_hold(posting, a, b, expires_in_seconds=40)
    await posting.set_ahead(50)
    answers = await posting.commit_batch([capture(hold)], [opening(a, b, expires_in_seconds=20)], [transfer(a, b)])
    assert words(answers) == ["clock_behind", "clock_behind", "applied"]
    assert await posting.decided() == 2
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize(("seconds", "status"), [(40, "expired"), (400, "open")])
async def test_what_expired_holds_reserve_is_freed_as_far_as_the_clock_is_followed(
    posting: Posting, superuser: asyncpg.Connection, superuser_url: str, seconds: float, status: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    hold = await open_hold(posting, a, b)
    await superuser.execute("UPDATE funds.holds SET expires_at = clock_timestamp()")
    await posting.set_ahead(seconds)
    [[answer]] = await posting.commit_batch([ExpireHold(hold_id=hold.id)])
    assert isinstance(answer.result, Hold)
    assert answer.result.status == status
    await posting.put_head_back()
    await assert_ledger_is_sound(superuser_url)


async def test_a_dry_run_says_the_same(strict: Posting, superuser: asyncpg.Connection) -> None:
    a, b = await add_accounts(superuser, 2)
    for seconds, expected in ((2, "applied"), (60, "clock_behind")):
        ahead = await strict.set_ahead(seconds)
        answers = await dry_run(strict.database, strict.settings, MAIN, [[transfer(a, b)]])
        assert words(answers) == [expected]
    assert await superuser.fetchval("SELECT last_at FROM funds.ledger_heads WHERE ledger_id = $1", MAIN) == ahead


async def test_a_revision_is_placed_after_the_last_change_or_rejected(
    strict: Posting, superuser: asyncpg.Connection, superuser_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    [account_id] = await add_accounts(superuser, 1)
    for seconds, expected in ((-1, "revised"), (2, "revised"), (60, "clock_behind")):
        ahead = await strict.set_ahead(seconds)
        revised = await revise_account(
            strict.database, strict.settings, MAIN, account_id, AccountRevision(name=f"{seconds}"), expected_tags=None
        )
        if isinstance(revised.result, Rejection):
            assert revised.result.code == expected
        else:
            assert expected == "revised"
            assert revised.result.updated_at > ahead
    assert [record.__dict__["ledger_id"] for record in caplog.records] == [MAIN]
    await strict.put_head_back()
    await assert_ledger_is_sound(superuser_url)


async def test_a_revision_is_rejected_only_for_now_where_the_clock_keeps_a_hold_from_being_freed(
    strict: Posting, superuser: asyncpg.Connection
) -> None:
    a, b = await add_accounts(superuser, 2)
    await open_hold(strict, a, b)
    await superuser.execute("UPDATE funds.holds SET expires_at = clock_timestamp()")
    key = Key(ledger_id=MAIN, client_id=CLIENT, idempotency_key="close", fingerprint=b"", operation="revise_account")
    for seconds, expected in ((60, "clock_behind"), (-1, "revised")):
        await strict.set_ahead(seconds)
        revised = await revise_account(
            strict.database, strict.settings, MAIN, a, AccountRevision(status="closed"), expected_tags=None, key=key
        )
        assert (revised.result.code if isinstance(revised.result, Rejection) else "revised") == expected


@pytest.mark.parametrize("at_most", [False, True])
@pytest.mark.parametrize("holds_max", [1, 500])
async def test_commands_are_rejected_only_for_now_where_the_clock_keeps_holds_from_being_freed(
    strict: Posting, superuser: asyncpg.Connection, superuser_url: str, holds_max: int, *, at_most: bool
) -> None:
    """For any limit of holds that are expired at a time."""
    strict.settings = structs.replace(strict.settings, hold_sweep_holds_max=holds_max)
    source, b = await add_accounts(superuser, 2)
    a = await add_account(superuser, minimum_balance=0)
    assert words(await strict.commit_batch([transfer(source, a, 30)])) == ["applied"]
    for amount in (1, 2, 3):
        await open_hold(strict, a, b, amount=amount)
    await superuser.execute("UPDATE funds.holds SET expires_at = clock_timestamp()")
    await strict.set_ahead(60)
    command = transfer(a, source, 30, at_most=at_most)
    assert words(await strict.commit_batch([command])) == ["clock_behind"]
    assert words(await strict.commit_batch([transfer(source, b), command])) == ["clock_behind"] * 2
    await strict.set_ahead(-1)
    [made] = posted(await strict.commit_batch([command]))
    assert made.amount == 30
    await assert_ledger_is_sound(superuser_url)
