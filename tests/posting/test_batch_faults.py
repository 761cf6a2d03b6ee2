"""The connection ends, or a lock is not granted: the batch is run again as a whole, and applied exactly once."""

import asyncio

import asyncpg
import pytest
from msgspec import structs

from service.errors import Failure, StorageError
from service.settings import Settings
from service.storage.database import Database
from tests.posting.obstacles import (
    Obstacle,
    end_waiting_sessions,
    wait_for_others,
    wait_for_tries,
    while_committing,
    while_locking,
    while_writing,
    while_writing_one_by_one,
)
from tests.support.commands import posted, transfer, words
from tests.support.commit_proxy import Fault, commit_proxy
from tests.support.committing import commit_batch
from tests.support.invariants import assert_ledger_is_sound
from tests.support.other_session import decided, holding_account
from tests.support.rows import MAIN, add_accounts

BEFORE_COMMIT = [while_locking, while_writing, while_writing_one_by_one]
CUTS = [Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.ANSWER_RACED, Fault.CUT_AFTER]


@pytest.mark.parametrize("obstacle", [*BEFORE_COMMIT, while_committing])
async def test_a_batch_whose_connection_ends_is_run_again(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str, obstacle: Obstacle
) -> None:
    """The server ends the session at some step of the batch. The next attempt waits at the same step, then goes on."""
    a, b, c = await add_accounts(superuser, 3)
    command = transfer(a, b)
    groups = [[transfer(b, c)], [command], [transfer(c, b)]]
    async with obstacle(superuser_url, command) as other_session:
        task = asyncio.create_task(commit_batch(batch_database, settings, MAIN, groups))
        await other_session.wait_for_waiters(1)
        await wait_for_others(superuser, await end_waiting_sessions(superuser))

    assert words(await task) == ["applied"] * 3
    assert words(await commit_batch(batch_database, settings, MAIN, groups)) == ["replayed applied"] * 3
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize(
    ("obstacle", "in_doubt"),
    [*((obstacle, False) for obstacle in BEFORE_COMMIT), (while_committing, True)],
)
async def test_the_last_attempt_tells_whether_the_commit_is_in_doubt(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    obstacle: Obstacle,
    *,
    in_doubt: bool,
) -> None:
    a, b = await add_accounts(superuser, 2)
    command = transfer(a, b)
    one_try = structs.replace(settings, commit_attempts_max=1)
    async with obstacle(superuser_url, command) as other_session:
        task = asyncio.create_task(commit_batch(batch_database, one_try, MAIN, [[transfer(b, a)], [command]]))
        await other_session.wait_for_waiters(1)
        await end_waiting_sessions(superuser)
        with pytest.raises(StorageError) as caught:
            await task

    assert (caught.value.failure, caught.value.in_doubt) == (Failure.UNAVAILABLE, in_doubt)
    assert await decided(superuser_url, [command.idempotency_key]) == set()
    await assert_ledger_is_sound(superuser_url)


async def test_connections_that_ended_in_the_pool_cost_one_attempt(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The server was restarted while the service was idle: one attempt finds that out for all connections."""
    a, b = await add_accounts(superuser, 2)
    async with holding_account(superuser_url, str(a)) as other_session:
        tasks = [
            asyncio.create_task(commit_batch(batch_database, settings, MAIN, [[transfer(a, b)]]))
            for _ in range(settings.batches_in_flight_max)
        ]
        await other_session.wait_for_waiters(settings.batches_in_flight_max)
    await asyncio.gather(*tasks)
    ended = await superuser.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'funds_service'"
    )
    assert len(ended) == settings.batches_in_flight_max

    two_tries = structs.replace(settings, commit_attempts_max=2)
    assert words(await commit_batch(batch_database, two_tries, MAIN, [[transfer(a, b)]])) == ["applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("fault", CUTS)
async def test_a_commit_whose_answer_is_lost_is_cleared_up_by_the_next_attempt(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str, fault: Fault
) -> None:
    """Three COMMITs in a row go wrong: whether or not they were done, the transfers are applied once."""
    a, b, c = await add_accounts(superuser, 3)
    groups = [[transfer(a, b)], [transfer(b, c), transfer(c, a)]]
    async with commit_proxy(database_url) as proxy:
        database = Database.connect_batches(proxy.url, settings)
        proxy.break_commits(fault, count=3)
        answers = [await commit_batch(database, settings, MAIN, groups) for _ in range(3)]
        await database.close()

    assert proxy.faults_met == 3
    assert posted(answers[0]) == posted(answers[1]) == posted(answers[2])
    assert words(answers[2]) == ["replayed applied"] * 3
    assert len(posted(answers[0])) == await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 3
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize(("fault", "was_applied"), [(Fault.REQUEST_LOST, False), (Fault.ANSWER_LOST, True)])
async def test_a_lost_commit_without_another_attempt_stays_in_doubt(
    settings: Settings,
    database_url: str,
    superuser: asyncpg.Connection,
    superuser_url: str,
    fault: Fault,
    *,
    was_applied: bool,
) -> None:
    """The caller is told that the outcome is in doubt. The same request again, under the same key, tells it."""
    a, b = await add_accounts(superuser, 2)
    groups = [[transfer(a, b)]]
    one_try = structs.replace(settings, commit_attempts_max=1)
    async with commit_proxy(database_url) as proxy:
        database = Database.connect_batches(proxy.url, settings)
        proxy.break_commits(fault)
        with pytest.raises(StorageError) as caught:
            await commit_batch(database, one_try, MAIN, groups)
        again = await commit_batch(database, one_try, MAIN, groups)
        await database.close()

    assert (caught.value.failure, caught.value.in_doubt) == (Failure.UNAVAILABLE, True)
    assert words(again) == ["replayed applied" if was_applied else "applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("obstacle", BEFORE_COMMIT)
async def test_a_lock_that_comes_free_is_granted_to_another_attempt(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str, obstacle: Obstacle
) -> None:
    """Each attempt is a transaction of its own: a savepoint would keep the old snapshot and the old locks."""
    a, b, c = await add_accounts(superuser, 3)
    command = transfer(a, b)
    groups = [[transfer(b, c)], [command]]
    impatient = structs.replace(settings, lock_timeout_ms=30, commit_attempts_max=100)
    database = Database.connect_batches(database_url, impatient)
    async with obstacle(superuser_url, command):
        task = asyncio.create_task(commit_batch(database, impatient, MAIN, groups))
        await wait_for_tries(superuser, 3)

    assert words(await task) == ["applied"] * 2
    await database.close()
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("obstacle", BEFORE_COMMIT)
async def test_a_lock_that_stays_is_contention_and_nothing_was_done(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str, obstacle: Obstacle
) -> None:
    a, b, c = await add_accounts(superuser, 3)
    command, neighbor = transfer(a, b), transfer(b, c)
    impatient = structs.replace(settings, lock_timeout_ms=30, commit_attempts_max=3)
    database = Database.connect_batches(database_url, impatient)
    async with obstacle(superuser_url, command):
        with pytest.raises(StorageError) as caught:
            await commit_batch(database, impatient, MAIN, [[neighbor], [command]])
    await database.close()

    assert (caught.value.failure, caught.value.in_doubt) == (Failure.CONTENTION, False)
    assert await decided(superuser_url, [command.idempotency_key, neighbor.idempotency_key]) == set()
    await assert_ledger_is_sound(superuser_url)


async def test_a_deadlock_with_another_session_is_tried_again(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The other session locks the accounts in the reverse order. The batch begins to wait before the cycle is complete,
    so the deadlock check of its own session finds the cycle, and the batch is the one that fails.
    """
    low, middle, high = await add_accounts(superuser, 3)
    groups = [[transfer(low, middle)], [transfer(middle, high)]]
    name = await superuser.fetchval("SELECT current_database()")
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await superuser.fetchval(deadlocks)
    writer = await asyncpg.connect(superuser_url)
    await superuser.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
    database = Database.connect_batches(database_url, settings)
    await writer.execute("SET deadlock_timeout = '1min'; BEGIN")
    lock = "SELECT FROM funds.accounts WHERE id = $1 FOR UPDATE"
    await writer.execute(lock, high)
    async with holding_account(superuser_url, str(middle)) as other_session:
        task = asyncio.create_task(commit_batch(database, settings, MAIN, groups))
        await other_session.wait_for_waiters(1)
        closing = asyncio.create_task(writer.execute(lock, low))
        await other_session.wait_for_waiters(2)
    await closing
    assert not task.done()
    await writer.close()

    assert words(await task) == ["applied"] * 2
    await database.close()
    await superuser.execute(f"ALTER DATABASE {name} RESET deadlock_timeout")
    assert await superuser.fetchval(deadlocks) == before + 1
    await assert_ledger_is_sound(superuser_url)
