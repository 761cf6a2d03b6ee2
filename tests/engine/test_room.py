"""Expired holds stand in nobody's way, though no sweeper comes: what lacks their room is decided again behind them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs
from sqlalchemy import event

from service.domain.accounts import AccountRevision
from service.domain.book import Answer
from service.domain.commands import AnyCommand, CaptureHold, OpenHold, ReverseTransfer, VoidHold
from service.domain.holds import Hold
from service.domain.limits import INT64_MAX
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from service.engine.administration import Refused, revise_account
from service.engine.engine import TransferEngine
from service.engine.room import HoldsInTheWayError, until_there_is_room
from service.engine.settle import rehearse, settle
from service.engine.sweeper import HoldSweeper
from service.settings import Settings
from service.storage.database import Database
from service.storage.errors import Failure, StorageError
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.engine.callers import Start, submit
from tests.engine.commands import CLIENT, posted, transfer
from tests.rows import MAIN, add_account


class Desk:
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
            [made] = posted(await self.settle([transfer(*sides, balance)]))
            assert made.amount == balance
        return account_id

    async def settle(self, *units: Sequence[AnyCommand]) -> list[list[Answer]]:
        return await settle(self.database, self.settings, MAIN, units)

    async def open(self, debit: UUID, credit: UUID, *amounts: int) -> list[UUID]:
        answers = await self.settle(*([opening(debit, credit, amount)] for amount in amounts))
        holds = [answer.outcome for [answer] in answers]
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
        return revised.rejection.code if isinstance(revised, Refused) else "revised"


@pytest.fixture
def desk(engine_database: Database, settings: Settings, superuser: asyncpg.Connection) -> Desk:
    return Desk(engine_database, settings, superuser)


def opening(debit: UUID, credit: UUID, amount: int) -> OpenHold:
    sides = {"debit_account_id": debit, "credit_account_id": credit, "amount": amount, "currency": "USD"}
    return OpenHold.of(MAIN, CLIENT, str(uuid4()), **sides)


def word(answer: Answer) -> str:
    return answer.outcome.code if isinstance(answer.outcome, Rejection) else type(answer.outcome).__name__


def words(answers: Sequence[Sequence[Answer]]) -> list[str]:
    return [word(answer) for unit in answers for answer in unit]


ASKS: dict[str, Callable[[UUID, UUID], AnyCommand]] = {
    "transfer": lambda payer, payee: transfer(payer, payee, 100),
    "hold": lambda payer, payee: opening(payer, payee, 100),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("normal_side", ["credit", "debit"])
async def test_a_minimum_does_not_count_them(
    desk: Desk, superuser_url: str, ask: Callable[[UUID, UUID], AnyCommand], normal_side: str
) -> None:
    full, other = await desk.account(100, minimum_balance=0, normal_side=normal_side), await desk.account()
    sides = (full, other) if normal_side == "credit" else (other, full)
    await desk.overdue(*sides, 60, 40)
    [[answer]] = await desk.settle([ask(*sides)])
    assert isinstance(answer.outcome, Transfer | Hold), answer
    assert (await desk.statuses())["expired"] == 2
    closed = await desk.superuser.fetch("SELECT DISTINCT closed_at FROM funds.holds WHERE status = 'expired'")
    assert [row["closed_at"] for row in closed] == [answer.outcome.created_at], "in the same transaction"
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("side", ["debit", "credit"])
async def test_full_counters_do_not_count_them(desk: Desk, superuser_url: str, side: str) -> None:
    full, other, third = [await desk.account() for _ in range(3)]
    sides = (full, other) if side == "debit" else (other, full)
    await desk.overdue(*sides, INT64_MAX)
    asked = transfer(full, third, 5) if side == "debit" else transfer(third, full, 5)
    assert words(await desk.settle([asked])) == ["Transfer"]
    assert await desk.statuses() == {"expired": 1}
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("held", [(100,), (70,)])
async def test_a_balancing_amount_moves_what_they_held(desk: Desk, superuser_url: str, held: tuple[int, ...]) -> None:
    full, other = await desk.account(100, minimum_balance=0), await desk.account()
    await desk.overdue(full, other, *held)
    [made] = posted(await desk.settle([transfer(full, other, 1_000, at_most=True)]))
    assert made.amount == 100
    await assert_ledger_is_sound(superuser_url)


async def test_a_reversal_takes_back_what_they_held(desk: Desk, superuser_url: str) -> None:
    source, full = await desk.account(), await desk.account(minimum_balance=0)
    [made] = posted(await desk.settle([transfer(source, full, 100)]))
    await desk.overdue(full, source, 1)
    assert words(await desk.settle([ReverseTransfer.of(MAIN, CLIENT, "back", transfer_id=made.id)])) == ["Transfer"]
    await assert_ledger_is_sound(superuser_url)


async def test_a_group_and_its_neighbours_see_it(desk: Desk, superuser_url: str) -> None:
    """The second unit lacks room on one account, the third, a group, on another, of which it is told only then."""
    first, second = [await desk.account(100, minimum_balance=0) for _ in range(2)]
    other = await desk.account()
    await desk.overdue(first, other, 100)
    await desk.overdue(second, other, 100)
    answers = await desk.settle(
        [transfer(other, first, 1)],
        [transfer(first, other, 60)],
        [transfer(first, second, 41), transfer(second, other, 141), transfer(other, second, 1)],
    )
    assert words(answers) == ["Transfer"] * 5
    assert await desk.statuses() == {"expired": 2}
    await assert_ledger_is_sound(superuser_url)


async def test_only_what_is_over_is_freed(desk: Desk, superuser_url: str) -> None:
    full, other, bystander = await desk.account(100, minimum_balance=0), await desk.account(), await desk.account()
    await desk.open(full, other, 30)
    await desk.overdue(full, other, 70)
    await desk.overdue(other, bystander, 7)
    answers = await desk.settle([transfer(full, bystander, 71)], [transfer(full, bystander, 70)])
    assert words(answers) == ["insufficient_funds", "Transfer"]
    refusal = answers[0][0].outcome
    assert isinstance(refusal, Rejection)
    assert (refusal.members["available_balance"], refusal.members["shortfall"]) == (70, 1)
    assert await desk.statuses() == {"open": 2, "expired": 1}, "other accounts' wait for the sweeper"
    await assert_ledger_is_sound(superuser_url)


async def test_what_is_refused_all_the_same_stays_refused(desk: Desk, superuser_url: str) -> None:
    full, other = await desk.account(100, minimum_balance=0), await desk.account()
    await desk.overdue(full, other, 100)
    asked = transfer(full, other, 101)
    for _ in range(2):
        assert words(await desk.settle([asked])) == ["insufficient_funds"]
    assert await desk.statuses() == {"expired": 1}
    await assert_ledger_is_sound(superuser_url)


async def test_those_of_the_same_batch_are_over_as_well(desk: Desk, superuser_url: str) -> None:
    full, other = await desk.account(100, minimum_balance=0), await desk.account()
    late, void = await desk.overdue(full, other, 60, 40)
    answers = await desk.settle(
        [CaptureHold.of(MAIN, CLIENT, "late", hold_id=late)],
        [transfer(full, other, 100)],
        [VoidHold.of(MAIN, CLIENT, "void", hold_id=void)],
    )
    assert words(answers) == ["hold_expired", "Transfer", "hold_expired"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("count", [99, 100, 101, 350])
async def test_however_many_there_are(desk: Desk, superuser_url: str, settings: Settings, count: int) -> None:
    """They are freed by the hundred: where there are more, before the batch, in transactions of their own."""
    desk.settings = structs.replace(settings, hold_sweep_holds_max=100)
    full, other = await desk.account(count, minimum_balance=0), await desk.account()
    await desk.overdue(full, other, *([1] * count))
    assert words(await desk.settle([transfer(full, other, count)])) == ["Transfer"]
    assert await desk.statuses() == {"expired": count}
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("count", [1, 250])
async def test_a_dry_run_foretells_it_and_stores_nothing(
    desk: Desk, superuser_url: str, settings: Settings, count: int
) -> None:
    desk.settings = structs.replace(settings, hold_sweep_holds_max=100)
    full, other = await desk.account(count, minimum_balance=0), await desk.account()
    await desk.overdue(full, other, *([1] * count))
    units = [[transfer(full, other, count)], [transfer(full, other, 1)]]
    assert words(await rehearse(desk.database, desk.settings, MAIN, units)) == ["Transfer", "insufficient_funds"]
    assert await desk.statuses() == {"open": count}
    await assert_ledger_is_sound(superuser_url)


async def test_an_account_closes_over_them(desk: Desk, superuser_url: str, settings: Settings) -> None:
    desk.settings = structs.replace(settings, hold_sweep_holds_max=2)
    full, other = await desk.account(), await desk.account()
    await desk.overdue(full, other, 1, 2, 3, 4, 5)
    assert await desk.revise(full, status="closed") == "revised"
    assert await desk.statuses() == {"expired": 5}
    await assert_ledger_is_sound(superuser_url)


async def test_a_minimum_rises_over_them(desk: Desk, superuser_url: str) -> None:
    full, other = await desk.account(100, minimum_balance=0), await desk.account()
    await desk.overdue(full, other, 60)
    await desk.open(full, other, 10)
    assert await desk.revise(full, minimum_balance=91) == "insufficient_funds"
    assert await desk.revise(full, minimum_balance=90) == "revised"
    assert await desk.revise(full, status="closed") == "account_not_empty"
    assert await desk.statuses() == {"open": 1, "expired": 1}
    await assert_ledger_is_sound(superuser_url)


async def test_they_are_asked_for_only_where_something_held_was_missing(desk: Desk) -> None:
    """A decline without holds, and whatever is applied, costs no look-up."""
    poor, other = await desk.account(10, minimum_balance=0), await desk.account()
    await desk.open(other, poor, 5)  # what is held on the other side is not what is missing
    statements: list[str] = []
    event.listen(desk.database.engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert words(await desk.settle([transfer(poor, other, 11)], [transfer(poor, other, 10)])) == [
        "insufficient_funds",
        "Transfer",
    ]
    assert [statement for statement in statements if "holds" in statement] == []
    await desk.settle([transfer(poor, other, 1)])
    await desk.open(other, poor, 1)
    await desk.settle([transfer(other, poor, 1_000, at_most=True)])
    assert [statement for statement in statements if "holds" in statement] == []


async def test_batches_and_sweepers_race_for_them(
    desk: Desk, start: Start, database: Database, superuser_url: str
) -> None:
    """Two services and two sweepers at the same holds between the same accounts, which go both ways."""
    accounts = [await desk.account(200, minimum_balance=0) for _ in range(6)]
    for number, account in enumerate(accounts):
        await desk.overdue(account, accounts[number - 1], *([1] * 100))
        await desk.overdue(account, accounts[number - 2], *([1] * 100))
    engines: list[TransferEngine] = [await start(hold_sweep_holds_max=50) for _ in range(2)]
    sweepers = [
        HoldSweeper(engine, database, structs.replace(desk.settings, hold_sweep_holds_max=50)) for engine in engines
    ]
    moves = [
        submit(engines[number % 2], transfer(account, accounts[number - 3], 200))
        for number, account in enumerate(accounts)
    ]
    revisions = [desk.revise(account, minimum_balance=0, name="raced") for account in accounts]
    await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers for _ in range(4)), *revisions)
    assert [words(await move) for move in moves] == [["Transfer"]] * 6
    assert await desk.superuser.fetchval("SELECT sum(debits_held + credits_held) FROM funds.accounts") == 2 * int(
        await desk.superuser.fetchval("SELECT coalesce(sum(amount), 0) FROM funds.holds WHERE status = 'open'")
    )
    deadlocks = await desk.superuser.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert deadlocks == 0, "locks are taken in one order"
    await assert_ledger_is_sound(superuser_url)


async def test_it_does_not_go_on_for_ever() -> None:
    rounds: list[int] = []

    async def finds_another(in_the_way: Sequence[UUID], seconds_left: float) -> None:
        assert 0 < seconds_left <= 0.05
        rounds.append(len(in_the_way))
        await asyncio.sleep(0.01)
        raise HoldsInTheWayError([uuid4()])

    with pytest.raises(StorageError) as raised:
        await until_there_is_room(finds_another, deadline_seconds=0.05)
    assert (raised.value.failure, raised.value.outcome_unknown) == (Failure.CONTENTION, False)
    assert rounds == list(range(len(rounds)))
