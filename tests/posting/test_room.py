"""Expired holds keep no room, even without a sweeper: what lacks room is decided again once they are freed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs
from sqlalchemy import event

from service.domain.accounts import AccountRevision
from service.domain.commands import AnyCommand, CaptureHold, ExpireHold, ReverseTransfer, VoidHold
from service.domain.decisions import CommandAnswer
from service.domain.holds import Hold
from service.domain.limits import INT64_MAX
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from service.errors import Failure, HoldsInTheWayError, StorageError
from service.posting.committer import Committer
from service.posting.room import until_there_is_room
from service.settings import Settings
from service.storage.database import Database
from service.storage.transactions import Transactions
from service.workers.sweeper import HoldSweeper
from tests.posting.callers import Start, queued, submit
from tests.support.commands import CLIENT, opening, posted, transfer
from tests.support.committing import commit_batch, dry_run, revise_account
from tests.support.invariants import assert_ledger_is_sound
from tests.support.other_session import holding_head
from tests.support.patience import PATIENT
from tests.support.rejections import told
from tests.support.rows import MAIN, add_account


class UnsweptLedger:
    """A ledger without a sweeper: ``full`` has 100, all of it held for ``other`` by holds whose time is over."""

    def __init__(self, database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
        self.database = database
        self.settings = settings
        self.superuser = superuser

    async def account(self, balance: int = 0, **columns: Any) -> UUID:
        account_id = await add_account(self.superuser, **columns)
        if balance:
            source = await add_account(self.superuser)
            debit = columns.get("normal_side") == "debit"
            sides = (account_id, source) if debit else (source, account_id)
            [made] = posted(await self.commit_batch([transfer(*sides, balance)]))
            assert made.amount == balance
        return account_id

    async def commit_batch(self, *groups: Sequence[AnyCommand]) -> list[list[CommandAnswer]]:
        return await commit_batch(self.database, self.settings, MAIN, groups)

    async def open(self, debit: UUID, credit: UUID, *amounts: int) -> list[UUID]:
        answers = await self.commit_batch(*([opening(debit, credit, amount)] for amount in amounts))
        holds = [answer.result for [answer] in answers]
        return [hold.id for hold in holds if isinstance(hold, Hold)]

    async def overdue(self, debit: UUID, credit: UUID, *amounts: int) -> list[UUID]:
        """Open holds and let their time be over."""
        hold_ids = await self.open(debit, credit, *amounts)
        assert len(hold_ids) == len(amounts)
        await self.superuser.execute(
            "UPDATE funds.holds SET expires_at = clock_timestamp() WHERE id = ANY($1::uuid[])", hold_ids
        )
        return hold_ids

    async def statuses(self) -> dict[str, int]:
        return dict(await self.superuser.fetch("SELECT status, count(*) FROM funds.holds GROUP BY status"))

    async def revise(self, account_id: UUID, **changes: Any) -> str:
        revised = await revise_account(
            self.database, self.settings, MAIN, account_id, AccountRevision(**changes), expected_tags=None
        )
        return revised.result.code if isinstance(revised.result, Rejection) else "revised"


@pytest.fixture
def ledger(batch_database: Database, settings: Settings, superuser: asyncpg.Connection) -> UnsweptLedger:
    return UnsweptLedger(batch_database, settings, superuser)


def word(answer: CommandAnswer) -> str:
    return answer.result.code if isinstance(answer.result, Rejection) else type(answer.result).__name__


def words(answers: Sequence[Sequence[CommandAnswer]]) -> list[str]:
    return [word(answer) for group in answers for answer in group]


REQUESTS: dict[str, Callable[[UUID, UUID], AnyCommand]] = {
    "transfer": lambda payer, payee: transfer(payer, payee, 100),
    "hold": lambda payer, payee: opening(payer, payee, 100),
}


@pytest.mark.parametrize("request_for", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("normal_side", ["credit", "debit"])
async def test_a_minimum_does_not_count_expired_holds(
    ledger: UnsweptLedger, superuser_url: str, request_for: Callable[[UUID, UUID], AnyCommand], normal_side: str
) -> None:
    full, other = await ledger.account(100, minimum_balance=0, normal_side=normal_side), await ledger.account()
    sides = (full, other) if normal_side == "credit" else (other, full)
    await ledger.overdue(*sides, 60, 40)
    [[answer]] = await ledger.commit_batch([request_for(*sides)])
    assert isinstance(answer.result, Transfer | Hold), answer
    assert (await ledger.statuses())["expired"] == 2
    closed = await ledger.superuser.fetch("SELECT DISTINCT closed_at FROM funds.holds WHERE status = 'expired'")
    assert [row["closed_at"] for row in closed] == [answer.result.created_at], "in the same transaction"
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("side", ["debit", "credit"])
async def test_full_counters_do_not_count_expired_holds(ledger: UnsweptLedger, superuser_url: str, side: str) -> None:
    full, other, third = [await ledger.account() for _ in range(3)]
    sides = (full, other) if side == "debit" else (other, full)
    await ledger.overdue(*sides, INT64_MAX)
    command = transfer(full, third, 5) if side == "debit" else transfer(third, full, 5)
    assert words(await ledger.commit_batch([command])) == ["Transfer"]
    assert await ledger.statuses() == {"expired": 1}
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("held", [(100,), (70,)])
async def test_a_balancing_amount_moves_what_they_held(
    ledger: UnsweptLedger, superuser_url: str, held: tuple[int, ...]
) -> None:
    full, other = await ledger.account(100, minimum_balance=0), await ledger.account()
    await ledger.overdue(full, other, *held)
    [made] = posted(await ledger.commit_batch([transfer(full, other, 1_000, at_most=True)]))
    assert made.amount == 100
    await assert_ledger_is_sound(superuser_url)


async def test_a_reversal_takes_back_what_they_held(ledger: UnsweptLedger, superuser_url: str) -> None:
    source, full = await ledger.account(), await ledger.account(minimum_balance=0)
    [made] = posted(await ledger.commit_batch([transfer(source, full, 100)]))
    await ledger.overdue(full, source, 1)
    assert words(
        await ledger.commit_batch(
            [ReverseTransfer(ledger_id=MAIN, client_id=CLIENT, idempotency_key="back", transfer_id=made.id)]
        )
    ) == ["Transfer"]
    await assert_ledger_is_sound(superuser_url)


async def test_a_group_and_its_neighbors_see_the_freed_room(ledger: UnsweptLedger, superuser_url: str) -> None:
    """The second group lacks room on one account, and the third group on another one, which is found only then."""
    first, second = [await ledger.account(100, minimum_balance=0) for _ in range(2)]
    other = await ledger.account()
    await ledger.overdue(first, other, 100)
    await ledger.overdue(second, other, 100)
    answers = await ledger.commit_batch(
        [transfer(other, first, 1)],
        [transfer(first, other, 60)],
        [transfer(first, second, 41), transfer(second, other, 141), transfer(other, second, 1)],
    )
    assert words(answers) == ["Transfer"] * 5
    assert await ledger.statuses() == {"expired": 2}
    await assert_ledger_is_sound(superuser_url)


async def test_only_expired_holds_are_freed(ledger: UnsweptLedger, superuser_url: str) -> None:
    full, other, bystander = (
        await ledger.account(100, minimum_balance=0),
        await ledger.account(),
        await ledger.account(),
    )
    await ledger.open(full, other, 30)
    await ledger.overdue(full, other, 70)
    await ledger.overdue(other, bystander, 7)
    answers = await ledger.commit_batch([transfer(full, bystander, 71)], [transfer(full, bystander, 70)])
    assert words(answers) == ["insufficient_funds", "Transfer"]
    rejection = answers[0][0].result
    assert isinstance(rejection, Rejection)
    assert (told(rejection)["available_balance"], told(rejection)["shortfall"]) == (70, 1)
    assert await ledger.statuses() == {"open": 2, "expired": 1}, "other accounts' wait for the sweeper"
    await assert_ledger_is_sound(superuser_url)


async def test_a_command_that_freed_holds_do_not_help_stays_rejected(ledger: UnsweptLedger, superuser_url: str) -> None:
    full, other = await ledger.account(100, minimum_balance=0), await ledger.account()
    await ledger.overdue(full, other, 100)
    command = transfer(full, other, 101)
    for _ in range(2):
        assert words(await ledger.commit_batch([command])) == ["insufficient_funds"]
    assert await ledger.statuses() == {"expired": 1}
    await assert_ledger_is_sound(superuser_url)


async def test_holds_opened_in_the_same_batch_expire_as_well(ledger: UnsweptLedger, superuser_url: str) -> None:
    full, other = await ledger.account(100, minimum_balance=0), await ledger.account()
    late, void = await ledger.overdue(full, other, 60, 40)
    answers = await ledger.commit_batch(
        [CaptureHold(ledger_id=MAIN, client_id=CLIENT, idempotency_key="late", hold_id=late)],
        [transfer(full, other, 100)],
        [VoidHold(ledger_id=MAIN, client_id=CLIENT, idempotency_key="void", hold_id=void)],
    )
    assert words(answers) == ["hold_expired", "Transfer", "hold_expired"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("count", [99, 100, 101, 350])
async def test_any_number_of_expired_holds_is_freed(
    ledger: UnsweptLedger, superuser_url: str, settings: Settings, count: int
) -> None:
    """A hundred holds are freed with the batch. If there are more, they are freed before it, in own transactions."""
    ledger.settings = structs.replace(settings, hold_sweep_holds_max=100)
    full, other = await ledger.account(count, minimum_balance=0), await ledger.account()
    await ledger.overdue(full, other, *([1] * count))
    assert words(await ledger.commit_batch([transfer(full, other, count)])) == ["Transfer"]
    assert await ledger.statuses() == {"expired": count}
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("count", [1, 250])
async def test_a_dry_run_answers_the_same_and_stores_nothing(
    ledger: UnsweptLedger, superuser_url: str, settings: Settings, count: int
) -> None:
    ledger.settings = structs.replace(settings, hold_sweep_holds_max=100)
    full, other = await ledger.account(count, minimum_balance=0), await ledger.account()
    await ledger.overdue(full, other, *([1] * count))
    groups = [[transfer(full, other, count)], [transfer(full, other, 1)]]
    assert words(await dry_run(ledger.database, ledger.settings, MAIN, groups)) == ["Transfer", "insufficient_funds"]
    assert await ledger.statuses() == {"open": count}
    await assert_ledger_is_sound(superuser_url)


async def test_what_the_sweeper_frees_has_room_for_the_transfer_it_meets_in_a_batch(
    ledger: UnsweptLedger, start: Start, superuser_url: str
) -> None:
    """Whichever of them came first."""
    full, other = await ledger.account(100, minimum_balance=0), await ledger.account()
    holds = await ledger.overdue(full, other, 60, 40)
    committer = await start()
    async with holding_head(superuser_url, MAIN) as other_session:
        moves = [submit(committer, transfer(full, other, 50)) for _ in range(2)]
        await other_session.wait_for_waiters(1)
        expired = submit(committer, *(ExpireHold(hold_id=hold_id) for hold_id in holds[:1]))
        await queued()
    assert [words(await move) for move in moves] == [["Transfer"]] * 2
    assert words(await expired) == ["Hold"]
    assert await ledger.statuses() == {"expired": 2}
    await assert_ledger_is_sound(superuser_url)


async def test_an_account_closes_when_all_its_holds_are_expired(
    ledger: UnsweptLedger, superuser_url: str, settings: Settings
) -> None:
    ledger.settings = structs.replace(settings, hold_sweep_holds_max=2)
    full, other = await ledger.account(), await ledger.account()
    await ledger.overdue(full, other, 1, 2, 3, 4, 5)
    assert await ledger.revise(full, status="closed") == "revised"
    assert await ledger.statuses() == {"expired": 5}
    await assert_ledger_is_sound(superuser_url)


async def test_a_minimum_rises_when_all_its_holds_are_expired(ledger: UnsweptLedger, superuser_url: str) -> None:
    full, other = await ledger.account(100, minimum_balance=0), await ledger.account()
    await ledger.overdue(full, other, 60)
    await ledger.open(full, other, 10)
    assert await ledger.revise(full, minimum_balance=91) == "insufficient_funds"
    assert await ledger.revise(full, minimum_balance=90) == "revised"
    assert await ledger.revise(full, status="closed") == "account_not_empty"
    assert await ledger.statuses() == {"open": 1, "expired": 1}
    await assert_ledger_is_sound(superuser_url)


async def test_expired_holds_are_looked_up_only_where_held_money_was_missing(ledger: UnsweptLedger) -> None:
    """A rejection on accounts without holds, and every applied command, needs no look-up."""
    poor, other = await ledger.account(10, minimum_balance=0), await ledger.account()
    await ledger.open(other, poor, 5)  # what is held on the other side is not what is missing
    statements: list[str] = []
    event.listen(ledger.database.engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert words(await ledger.commit_batch([transfer(poor, other, 11)], [transfer(poor, other, 10)])) == [
        "insufficient_funds",
        "Transfer",
    ]
    assert [statement for statement in statements if "holds" in statement] == []
    await ledger.commit_batch([transfer(poor, other, 1)])
    await ledger.open(other, poor, 1)
    await ledger.commit_batch([transfer(other, poor, 1_000, at_most=True)])
    assert [statement for statement in statements if "holds" in statement] == []


async def test_batches_and_sweepers_race_for_expired_holds(
    ledger: UnsweptLedger, start: Start, database: Database, superuser_url: str
) -> None:
    """Two committers and two sweepers work on the same holds, which go both ways between the same accounts."""
    ledger.settings = structs.replace(ledger.settings, **PATIENT)  # what is tested is that nothing is stuck
    accounts = [await ledger.account(200, minimum_balance=0) for _ in range(6)]
    for number, account in enumerate(accounts):
        await ledger.overdue(account, accounts[number - 1], *([1] * 100))
        await ledger.overdue(account, accounts[number - 2], *([1] * 100))
    committers: list[Committer] = [await start(hold_sweep_holds_max=50, **PATIENT) for _ in range(2)]
    transactions = Transactions(database, ledger.settings.read_limits)
    sweepers = [
        HoldSweeper(
            committer,
            transactions,
            structs.replace(ledger.settings, hold_sweep_holds_max=50),
        )
        for committer in committers
    ]
    moves = [
        submit(committers[number % 2], transfer(account, accounts[number - 3], 200))
        for number, account in enumerate(accounts)
    ]
    revisions = [ledger.revise(account, minimum_balance=0, name="raced") for account in accounts]
    await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers for _ in range(4)), *revisions)
    assert [words(await move) for move in moves] == [["Transfer"]] * 6
    assert await ledger.superuser.fetchval("SELECT sum(debits_held + credits_held) FROM funds.accounts") == 2 * int(
        await ledger.superuser.fetchval("SELECT coalesce(sum(amount), 0) FROM funds.holds WHERE status = 'open'")
    )
    deadlocks = await ledger.superuser.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert deadlocks == 0, "locks are taken in one order"
    await assert_ledger_is_sound(superuser_url)


async def test_looking_for_expired_holds_ends_with_the_deadline() -> None:
    rounds: list[int] = []

    async def finds_another(in_the_way: Sequence[UUID], seconds_left: float) -> None:
        assert 0 < seconds_left <= 0.05
        rounds.append(len(in_the_way))
        await asyncio.sleep(0.01)
        raise HoldsInTheWayError([uuid4()])

    with pytest.raises(StorageError) as raised:
        await until_there_is_room(finds_another, deadline_seconds=0.05)
    assert (raised.value.failure, raised.value.in_doubt) == (Failure.CONTENTION, False)
    assert rounds == list(range(len(rounds)))
