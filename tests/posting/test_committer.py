"""The committer: every submission is answered, and what the answer says of the outcome is true."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from service.errors import BatchFailedError, Failure, OverloadedError, StorageError
from tests.posting.callers import Start, busy, queued, submit
from tests.posting.obstacles import accounts_of_another_schema, end_waiting_sessions, wait_for_others
from tests.support.commands import posted, transfer, words
from tests.support.invariants import assert_ledger_is_sound
from tests.support.other_session import decided, holding_account, holding_head, wait_until
from tests.support.rows import MAIN, add_account, add_accounts, add_ledger


async def test_each_caller_gets_its_own_answers(
    start: Start, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    committer = await start()
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    await committer.submit(MAIN, [[transfer(source, a, 40)]])

    tasks = [submit(committer, transfer(a, b, 1, reference=str(number))) for number in range(60)]
    answers = await asyncio.gather(*tasks)

    outcomes = [words(answer) for answer in answers]
    assert sorted(word for [word] in outcomes) == ["applied"] * 40 + ["insufficient_funds"] * 20
    for number, answer in enumerate(answers):
        assert [one.reference for one in posted(answer)] in ([], [str(number)])
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_answers_come_group_by_group(start: Start, accounts: tuple[UUID, UUID]) -> None:
    committer = await start()
    a, b = accounts
    groups = [[transfer(a, b, 1)], [transfer(a, b, 2), transfer(b, a, 3)], [transfer(a, b, 4)]]

    answers = await committer.submit(MAIN, groups)

    assert [len(group) for group in answers] == [1, 2, 1]
    assert [one.amount for one in posted(answers)] == [1, 2, 3, 4]


async def test_what_gathers_while_a_batch_commits_is_the_next_batch(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    committer = await start(batches_in_flight_max=1)
    async with busy(committer, superuser, superuser_url) as first:
        tasks = [submit(committer, transfer(*accounts)) for _ in range(50)]
        await queued()
    await asyncio.gather(first, *tasks)

    transactions = "SELECT count(DISTINCT xmin::text) FROM funds.transfers"
    assert await superuser.fetchval(transactions) == 2


async def test_what_arrives_before_a_batch_has_the_head_is_in_it(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    """Another process writes to the ledger: this one's transfers wait together, up to the bound of a batch."""
    committer = await start(batch_commands_max=10)
    async with holding_head(superuser_url, MAIN) as other_session:
        first = submit(committer, transfer(*accounts))
        await other_session.wait_for_waiters(1)
        tasks = [submit(committer, transfer(*accounts)) for _ in range(15)]
        await queued()
    answers = await asyncio.gather(first, *tasks)

    made = [one for answer in answers for one in posted(answer)]
    assert [one.idempotency_key for one in sorted(made, key=lambda one: one.id)] == [
        one.idempotency_key for one in made
    ]
    sizes = await superuser.fetch("SELECT count(*) AS size FROM funds.transfers GROUP BY xmin::text")
    assert sorted(row["size"] for row in sizes) == [6, 10]
    await assert_ledger_is_sound(superuser_url)


async def test_each_try_of_a_batch_takes_what_has_arrived(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    """Whoever came in a try that failed is answered by the next one."""
    committer = await start()
    async with holding_account(superuser_url, str(accounts[0])) as other_session:
        first = submit(committer, transfer(*accounts))
        await other_session.wait_for_waiters(1)
        tasks = [submit(committer, transfer(*accounts)) for _ in range(5)]
        await queued()
        ended = await end_waiting_sessions(superuser)
        await wait_for_others(superuser, ended)
    assert [words(answer) for answer in await asyncio.gather(first, *tasks)] == [["applied"]] * 6

    assert await superuser.fetchval("SELECT count(DISTINCT xmin::text) FROM funds.transfers") == 1
    await assert_ledger_is_sound(superuser_url)


async def test_a_batch_holds_no_more_than_its_bound(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    committer = await start(batches_in_flight_max=1, batch_commands_max=10)
    async with busy(committer, superuser, superuser_url) as first:
        tasks = [submit(committer, transfer(*accounts)) for _ in range(50)]
        await queued()
    await asyncio.gather(first, *tasks)

    sizes = await superuser.fetch("SELECT count(*) AS size FROM funds.transfers GROUP BY xmin::text")
    assert sorted(row["size"] for row in sizes) == [1, 10, 10, 10, 10, 10]


async def test_a_ledger_does_not_wait_for_the_batch_of_another(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    committer = await start(batches_in_flight_max=2)
    other = await add_ledger(superuser, "other")
    c, d = await add_accounts(superuser, 2, ledger_id=other)
    async with busy(committer, superuser, superuser_url) as first:
        behind = submit(committer, transfer(*accounts))
        assert words(await submit(committer, transfer(c, d, ledger_id=other), ledger_id=other)) == ["applied"]
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
    committer = await start(batches_in_flight_max=1)
    other = await add_ledger(superuser, "other")
    c, d = await add_accounts(superuser, 2, ledger_id=other)
    async with busy(committer, superuser, superuser_url) as first:
        tasks = [submit(committer, transfer(*accounts)) for _ in range(5)]
        tasks += [submit(committer, transfer(c, d, ledger_id=other), ledger_id=other) for _ in range(5)]
        await queued()
    assert {word for answer in await asyncio.gather(first, *tasks) for word in words(answer)} == {"applied"}

    rows = await superuser.fetch("SELECT ledger_id, count(DISTINCT xmin::text) FROM funds.transfers GROUP BY ledger_id")
    assert {tuple(row) for row in rows} == {(MAIN, 2), (other, 1)}


async def test_a_full_queue_is_overload_and_certainly_not_applied(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    committer = await start(batches_in_flight_max=1, queue_commands_max=3)
    fitting = [transfer(*accounts) for _ in range(3)]
    refused = transfer(*accounts)
    async with busy(committer, superuser, superuser_url) as first:
        tasks = [submit(committer, one) for one in fitting]
        await queued()
        with pytest.raises(OverloadedError):
            await committer.submit(MAIN, [[refused]])
    await asyncio.gather(first, *tasks)

    keys = [one.idempotency_key for one in (*fitting, refused)]
    assert await decided(superuser_url, keys) == set(keys[:3])
    assert words(await committer.submit(MAIN, [[refused]])) == ["applied"]


async def test_a_submission_that_waited_too_long_is_refused_and_certainly_not_applied(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    """A submission expires only in the queue: a batch that is under way is finished however long it takes."""
    committer = await start(batches_in_flight_max=1, queue_wait_seconds_max=0.5)
    late, punctual = transfer(*accounts), transfer(*accounts)
    async with busy(committer, superuser, superuser_url) as first:
        expired = submit(committer, late)
        await queued()
        expires_at = asyncio.get_running_loop().time() + 0.5
        await wait_until(lambda: asyncio.get_running_loop().time() > expires_at)
        in_time = submit(committer, punctual)
        await queued()

    assert words(await first) == ["applied"]
    assert words(await in_time) == ["applied"]
    with pytest.raises(OverloadedError):
        await expired
    assert await decided(superuser_url, [late.idempotency_key]) == set()


async def test_a_caller_that_leaves_cancels_nothing(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    """Neither a batch under way nor a submission that waits is cancelled."""
    committer = await start(batches_in_flight_max=1)
    waiting, behind = transfer(*accounts), transfer(*accounts)
    async with busy(committer, superuser, superuser_url) as under_way:
        tasks = [submit(committer, waiting), submit(committer, behind)]
        await queued()
        for task in (under_way, tasks[0]):
            task.cancel()
        await asyncio.wait([under_way, tasks[0]])
        assert under_way.cancelled()
        assert tasks[0].cancelled()

    assert words(await tasks[1]) == ["applied"]
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 3
    assert words(await committer.submit(MAIN, [[waiting]])) == ["replayed applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("caller_leaves", [False, True])
async def test_a_batch_that_fails_fails_for_all_callers_and_the_committer_goes_on(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID], *, caller_leaves: bool
) -> None:
    committer = await start(batches_in_flight_max=1, commit_attempts_max=1)
    commands = [transfer(*accounts) for _ in range(3)]
    async with busy(committer, superuser, superuser_url) as first, holding_account(superuser_url, str(accounts[0])):
        tasks = [submit(committer, one) for one in commands]
        await queued()
        if caller_leaves:
            tasks[0].cancel()
        await wait_for_others(superuser, await end_waiting_sessions(superuser))
        await end_waiting_sessions(superuser)
        failures = await asyncio.gather(first, *tasks[caller_leaves:], return_exceptions=True)

    for failure in failures:
        assert isinstance(failure, StorageError)
        assert (failure.failure, failure.in_doubt) == (Failure.UNAVAILABLE, False)
    assert await decided(superuser_url, [one.idempotency_key for one in commands]) == set()
    assert committer.running
    assert words(await committer.submit(MAIN, [[one] for one in commands])) == ["applied"] * 3


async def test_a_fault_of_ours_ends_one_batch_and_not_the_committer(
    start: Start, superuser: asyncpg.Connection, accounts: tuple[UUID, UUID]
) -> None:
    committer = await start(batches_in_flight_max=1)
    async with accounts_of_another_schema(superuser):
        with pytest.raises(BatchFailedError):
            await committer.submit(MAIN, [[transfer(*accounts)]])

    assert committer.running
    assert words(await committer.submit(MAIN, [[transfer(*accounts)]])) == ["applied"]
