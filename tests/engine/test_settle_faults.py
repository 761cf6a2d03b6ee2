"""The connection ends, or a lock is not granted: the batch is run again as a whole, and applied exactly once."""

import asyncio

import asyncpg
import pytest
from msgspec import structs

from service.engine.settle import settle
from service.settings import Settings
from service.storage.database import Database
from service.storage.errors import Failure, StorageError
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.outsider import decided, holding_account
from tests.engine.commands import posted, transfer, words
from tests.engine.obstacles import (
    Obstacle,
    end_waiting_sessions,
    wait_for_others,
    wait_for_tries,
    while_committing,
    while_locking,
    while_settling_alone,
    while_writing,
)
from tests.faults.proxy import Fault, commit_proxy
from tests.rows import MAIN, add_accounts

BEFORE_COMMIT = [while_locking, while_writing, while_settling_alone]
CUTS = [Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.ANSWER_RACED, Fault.CUT_AFTER]


@pytest.mark.parametrize("obstacle", [*BEFORE_COMMIT, while_committing])
async def test_a_batch_whose_connection_ends_is_run_again(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str, obstacle: Obstacle
) -> None:
    """The server ends the session wherever the batch stands; it meets the same obstacle again, and then none."""
    a, b, c = await add_accounts(superuser, 3)
    command = transfer(a, b)
    units = [[transfer(b, c)], [command], [transfer(c, b)]]
    async with obstacle(superuser_url, command) as outsider:
        task = asyncio.create_task(settle(engine_database, settings, MAIN, units))
        await outsider.wait_for_waiters(1)
        await wait_for_others(superuser, await end_waiting_sessions(superuser))

    assert words(await task) == ["applied"] * 3
    assert words(await settle(engine_database, settings, MAIN, units)) == ["replayed applied"] * 3
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize(
    ("obstacle", "outcome_unknown"),
    [*((obstacle, False) for obstacle in BEFORE_COMMIT), (while_committing, True)],
)
async def test_the_last_try_tells_whether_the_outcome_is_known(
    engine_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    obstacle: Obstacle,
    *,
    outcome_unknown: bool,
) -> None:
    a, b = await add_accounts(superuser, 2)
    command = transfer(a, b)
    one_try = structs.replace(settings, commit_attempts_max=1)
    async with obstacle(superuser_url, command) as outsider:
        task = asyncio.create_task(settle(engine_database, one_try, MAIN, [[transfer(b, a)], [command]]))
        await outsider.wait_for_waiters(1)
        await end_waiting_sessions(superuser)
        with pytest.raises(StorageError) as caught:
            await task

    assert (caught.value.failure, caught.value.outcome_unknown) == (Failure.UNAVAILABLE, outcome_unknown)
    assert await decided(superuser_url, [command.idempotency_key]) == set()
    await assert_ledger_is_sound(superuser_url)


async def test_connections_that_died_in_the_pool_cost_one_try(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The server was restarted while the service was idle: one try finds out for all connections."""
    a, b = await add_accounts(superuser, 2)
    async with holding_account(superuser_url, str(a)) as outsider:
        tasks = [
            asyncio.create_task(settle(engine_database, settings, MAIN, [[transfer(a, b)]]))
            for _ in range(settings.batches_in_flight_max)
        ]
        await outsider.wait_for_waiters(settings.batches_in_flight_max)
    await asyncio.gather(*tasks)
    ended = await superuser.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'funds_service'"
    )
    assert len(ended) == settings.batches_in_flight_max

    two_tries = structs.replace(settings, commit_attempts_max=2)
    assert words(await settle(engine_database, two_tries, MAIN, [[transfer(a, b)]])) == ["applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("fault", CUTS)
async def test_a_commit_whose_answer_is_lost_is_settled_by_the_next_try(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str, fault: Fault
) -> None:
    """Three COMMITs in a row go wrong: whether or not they were done, the transfers are applied once."""
    a, b, c = await add_accounts(superuser, 3)
    units = [[transfer(a, b)], [transfer(b, c), transfer(c, a)]]
    async with commit_proxy(database_url) as proxy:
        database = Database.connect_engine(proxy.url, settings)
        proxy.break_commits(fault, count=3)
        answers = [await settle(database, settings, MAIN, units) for _ in range(3)]
        await database.close()

    assert proxy.faults_met == 3
    assert posted(answers[0]) == posted(answers[1]) == posted(answers[2])
    assert words(answers[2]) == ["replayed applied"] * 3
    assert len(posted(answers[0])) == await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 3
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize(("fault", "was_applied"), [(Fault.REQUEST_LOST, False), (Fault.ANSWER_LOST, True)])
async def test_a_lost_commit_without_another_try_is_an_unknown_outcome(
    settings: Settings,
    database_url: str,
    superuser: asyncpg.Connection,
    superuser_url: str,
    fault: Fault,
    *,
    was_applied: bool,
) -> None:
    """The caller is told the truth; asking again under the same key settles the doubt."""
    a, b = await add_accounts(superuser, 2)
    units = [[transfer(a, b)]]
    one_try = structs.replace(settings, commit_attempts_max=1)
    async with commit_proxy(database_url) as proxy:
        database = Database.connect_engine(proxy.url, settings)
        proxy.break_commits(fault)
        with pytest.raises(StorageError) as caught:
            await settle(database, one_try, MAIN, units)
        again = await settle(database, one_try, MAIN, units)
        await database.close()

    assert (caught.value.failure, caught.value.outcome_unknown) == (Failure.UNAVAILABLE, True)
    assert words(again) == ["replayed applied" if was_applied else "applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("obstacle", BEFORE_COMMIT)
async def test_a_lock_that_comes_free_is_waited_for_by_trying_again(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str, obstacle: Obstacle
) -> None:
    """Each try is a transaction of its own: never again inside a savepoint, whose snapshot and locks are old."""
    a, b, c = await add_accounts(superuser, 3)
    command = transfer(a, b)
    units = [[transfer(b, c)], [command]]
    impatient = structs.replace(settings, lock_timeout_ms=30, commit_attempts_max=100)
    database = Database.connect_engine(database_url, impatient)
    async with obstacle(superuser_url, command):
        task = asyncio.create_task(settle(database, impatient, MAIN, units))
        await wait_for_tries(superuser, 3)

    assert words(await task) == ["applied"] * 2
    await database.close()
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("obstacle", BEFORE_COMMIT)
async def test_a_lock_that_stays_is_contention_and_nothing_was_done(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str, obstacle: Obstacle
) -> None:
    a, b, c = await add_accounts(superuser, 3)
    command, neighbour = transfer(a, b), transfer(b, c)
    impatient = structs.replace(settings, lock_timeout_ms=30, commit_attempts_max=3)
    database = Database.connect_engine(database_url, impatient)
    async with obstacle(superuser_url, command):
        with pytest.raises(StorageError) as caught:
            await settle(database, impatient, MAIN, [[neighbour], [command]])
    await database.close()

    assert (caught.value.failure, caught.value.outcome_unknown) == (Failure.CONTENTION, False)
    assert await decided(superuser_url, [command.idempotency_key, neighbour.idempotency_key]) == set()
    await assert_ledger_is_sound(superuser_url)


async def test_a_deadlock_with_an_outsider_is_tried_again(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The outsider locks from the top. The batch stands between: it waits for the middle until the ring is closed,
    so that its own check finds the deadlock and it is the one to give way.
    """
    low, middle, high = await add_accounts(superuser, 3)
    units = [[transfer(low, middle)], [transfer(middle, high)]]
    name = await superuser.fetchval("SELECT current_database()")
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await superuser.fetchval(deadlocks)
    rival = await asyncpg.connect(superuser_url)
    await superuser.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
    database = Database.connect_engine(database_url, settings)
    await rival.execute("SET deadlock_timeout = '1min'; BEGIN")
    lock = "SELECT FROM funds.accounts WHERE id = $1 FOR UPDATE"
    await rival.execute(lock, high)
    async with holding_account(superuser_url, str(middle)) as outsider:
        task = asyncio.create_task(settle(database, settings, MAIN, units))
        await outsider.wait_for_waiters(1)
        closing = asyncio.create_task(rival.execute(lock, low))
        await outsider.wait_for_waiters(2)
    await closing
    assert not task.done()
    await rival.close()

    assert words(await task) == ["applied"] * 2
    await database.close()
    await superuser.execute(f"ALTER DATABASE {name} RESET deadlock_timeout")
    assert await superuser.fetchval(deadlocks) == before + 1
    await assert_ledger_is_sound(superuser_url)
