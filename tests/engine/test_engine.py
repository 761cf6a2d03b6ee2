"""The engine: everything that is submitted is answered, and what it says of the outcome is true."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from service.engine.queue import OverloadedError
from service.engine.settle import SettlementError
from service.storage.errors import Failure, StorageError
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.outsider import decided, holding_account, wait_until
from tests.engine.callers import Start, busy, queued, submit
from tests.engine.commands import posted, transfer, words
from tests.engine.obstacles import accounts_of_another_schema, end_waiting_sessions, wait_for_others
from tests.rows import MAIN, add_account, add_accounts, add_ledger


async def test_everybody_gets_their_own_answers(
    start: Start, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    engine = await start()
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    await engine.submit(MAIN, [[transfer(source, a, 40)]])

    tasks = [submit(engine, transfer(a, b, 1, reference=str(number))) for number in range(60)]
    answers = await asyncio.gather(*tasks)

    outcomes = [words(answer) for answer in answers]
    assert sorted(word for [word] in outcomes) == ["applied"] * 40 + ["insufficient_funds"] * 20
    for number, answer in enumerate(answers):
        assert [one.reference for one in posted(answer)] in ([], [str(number)])
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_answers_come_unit_by_unit(start: Start, accounts: tuple[UUID, UUID]) -> None:
    engine = await start()
    a, b = accounts
    units = [[transfer(a, b, 1)], [transfer(a, b, 2), transfer(b, a, 3)], [transfer(a, b, 4)]]

    answers = await engine.submit(MAIN, units)

    assert [len(unit) for unit in answers] == [1, 2, 1]
    assert [one.amount for one in posted(answers)] == [1, 2, 3, 4]


async def test_what_gathers_while_a_batch_commits_is_the_next_batch(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    engine = await start(batches_in_flight_max=1)
    async with busy(engine, superuser, superuser_url) as first:
        tasks = [submit(engine, transfer(*accounts)) for _ in range(50)]
        await queued()
    await asyncio.gather(first, *tasks)

    transactions = "SELECT count(DISTINCT xmin::text) FROM funds.transfers"
    assert await superuser.fetchval(transactions) == 2


async def test_a_batch_holds_no_more_than_its_bound(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    engine = await start(batches_in_flight_max=1, batch_commands_max=10)
    async with busy(engine, superuser, superuser_url) as first:
        tasks = [submit(engine, transfer(*accounts)) for _ in range(50)]
        await queued()
    await asyncio.gather(first, *tasks)

    sizes = await superuser.fetch("SELECT count(*) AS size FROM funds.transfers GROUP BY xmin::text")
    assert sorted(row["size"] for row in sizes) == [1, 10, 10, 10, 10, 10]


async def test_a_ledger_does_not_wait_for_the_batch_of_another(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    engine = await start(batches_in_flight_max=2)
    other = await add_ledger(superuser, "other")
    c, d = await add_accounts(superuser, 2, ledger_id=other)
    async with busy(engine, superuser, superuser_url) as first:
        behind = submit(engine, transfer(*accounts))
        assert words(await submit(engine, transfer(c, d, ledger_id=other), ledger_id=other)) == ["applied"]
        assert not behind.done()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        assert await superuser.fetchval(waiting) == 1, "one transaction of a ledger at a time"
    assert [words(answer) for answer in await asyncio.gather(first, behind)] == [["applied"]] * 2
    await assert_ledger_is_sound(superuser_url)


async def test_ledgers_do_not_share_a_transaction(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    engine = await start(batches_in_flight_max=1)
    other = await add_ledger(superuser, "other")
    c, d = await add_accounts(superuser, 2, ledger_id=other)
    async with busy(engine, superuser, superuser_url) as first:
        tasks = [submit(engine, transfer(*accounts)) for _ in range(5)]
        tasks += [submit(engine, transfer(c, d, ledger_id=other), ledger_id=other) for _ in range(5)]
        await queued()
    assert {word for answer in await asyncio.gather(first, *tasks) for word in words(answer)} == {"applied"}

    rows = await superuser.fetch("SELECT ledger_id, count(DISTINCT xmin::text) FROM funds.transfers GROUP BY ledger_id")
    assert {tuple(row) for row in rows} == {(MAIN, 2), (other, 1)}


async def test_a_full_queue_is_overload_and_certainly_not_applied(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    engine = await start(batches_in_flight_max=1, queue_commands_max=3)
    fitting = [transfer(*accounts) for _ in range(3)]
    refused = transfer(*accounts)
    async with busy(engine, superuser, superuser_url) as first:
        tasks = [submit(engine, one) for one in fitting]
        await queued()
        with pytest.raises(OverloadedError):
            await engine.submit(MAIN, [[refused]])
    await asyncio.gather(first, *tasks)

    keys = [one.idempotency_key for one in (*fitting, refused)]
    assert await decided(superuser_url, keys) == set(keys[:3])
    assert words(await engine.submit(MAIN, [[refused]])) == ["applied"]


async def test_who_waited_too_long_is_refused_and_certainly_not_applied(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    """It expires in the queue only: what a committer has begun is finished, however long it takes."""
    engine = await start(batches_in_flight_max=1, queue_wait_seconds_max=0.5)
    late, punctual = transfer(*accounts), transfer(*accounts)
    async with busy(engine, superuser, superuser_url) as first:
        expired = submit(engine, late)
        await queued()
        expires_at = asyncio.get_running_loop().time() + 0.5
        await wait_until(lambda: asyncio.get_running_loop().time() > expires_at)
        in_time = submit(engine, punctual)
        await queued()

    assert words(await first) == ["applied"]
    assert words(await in_time) == ["applied"]
    with pytest.raises(OverloadedError):
        await expired
    assert await decided(superuser_url, [late.idempotency_key]) == set()


async def test_a_caller_that_leaves_cancels_nothing(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    """Neither what is under way nor what still waits."""
    engine = await start(batches_in_flight_max=1)
    waiting, behind = transfer(*accounts), transfer(*accounts)
    async with busy(engine, superuser, superuser_url) as under_way:
        tasks = [submit(engine, waiting), submit(engine, behind)]
        await queued()
        for task in (under_way, tasks[0]):
            task.cancel()
        await asyncio.wait([under_way, tasks[0]])
        assert under_way.cancelled()
        assert tasks[0].cancelled()

    assert words(await tasks[1]) == ["applied"]
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 3
    assert words(await engine.submit(MAIN, [[waiting]])) == ["replayed applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("caller_leaves", [False, True])
async def test_a_batch_that_fails_fails_for_all_and_the_engine_goes_on(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID], *, caller_leaves: bool
) -> None:
    engine = await start(batches_in_flight_max=1, commit_attempts_max=1)
    commands = [transfer(*accounts) for _ in range(3)]
    async with busy(engine, superuser, superuser_url) as first, holding_account(superuser_url, str(accounts[0])):
        tasks = [submit(engine, one) for one in commands]
        await queued()
        if caller_leaves:
            tasks[0].cancel()
        await wait_for_others(superuser, await end_waiting_sessions(superuser))
        await end_waiting_sessions(superuser)
        failures = await asyncio.gather(first, *tasks[caller_leaves:], return_exceptions=True)

    for failure in failures:
        assert isinstance(failure, StorageError)
        assert (failure.failure, failure.outcome_unknown) == (Failure.UNAVAILABLE, False)
    assert await decided(superuser_url, [one.idempotency_key for one in commands]) == set()
    assert engine.running
    assert words(await engine.submit(MAIN, [[one] for one in commands])) == ["applied"] * 3


async def test_a_fault_of_ours_ends_one_batch_and_not_the_engine(
    start: Start, superuser: asyncpg.Connection, accounts: tuple[UUID, UUID]
) -> None:
    engine = await start(batches_in_flight_max=1)
    async with accounts_of_another_schema(superuser):
        with pytest.raises(SettlementError):
            await engine.submit(MAIN, [[transfer(*accounts)]])

    assert engine.running
    assert words(await engine.submit(MAIN, [[transfer(*accounts)]])) == ["applied"]
