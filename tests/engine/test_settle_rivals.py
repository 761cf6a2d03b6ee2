"""A rival takes a key of the batch between its load and its store, where no lock keeps them apart."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import pytest

from service.engine.settle import _TOGETHER_TRIES, settle
from service.settings import Settings
from service.storage.database import Database
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.outsider import Outsider
from tests.engine.commands import posted, transfer, words
from tests.engine.obstacles import uncommitted_decision, wait_for_blocked
from tests.rows import MAIN, add_account, add_accounts, add_transfer


async def test_a_refusal_decided_meanwhile_is_found_and_replayed(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """It was committed between load and store: the write fails on the key, and the command's own turn finds it."""
    a, b, c = await add_accounts(superuser, 3)
    command = transfer(a, b)
    units = [[transfer(b, c)], [command], [transfer(a, c)]]
    async with uncommitted_decision(superuser_url, command.idempotency_key, fingerprint=command.fingerprint) as rival:
        task = asyncio.create_task(settle(engine_database, settings, MAIN, units))
        await Outsider(rival).wait_for_waiters(1)
        await rival.execute("COMMIT")

    assert words(await task) == ["applied", "replayed account_frozen", "applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize(("count", "is_one_by_one"), [(2, False), (_TOGETHER_TRIES + 1, True)])
async def test_rivals_who_win_one_after_another_are_all_found(
    engine_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    caplog: pytest.LogCaptureFixture,
    count: int,
    *,
    is_one_by_one: bool,
) -> None:
    """The batch is decided anew for some of them; when there is no end of them, its commands are settled alone."""
    a, b = await add_accounts(superuser, 2)
    commands = [transfer(a, b, key=f"key-{number:03}") for number in range(count)]
    neighbour = transfer(a, b, key="last")
    units = [[neighbour], *([one] for one in commands)]
    async with AsyncExitStack() as stack:
        rivals = [
            await stack.enter_async_context(
                uncommitted_decision(superuser_url, one.idempotency_key, fingerprint=one.fingerprint)
            )
            for one in commands
        ]
        task = asyncio.create_task(settle(engine_database, settings, MAIN, units))
        for rival in rivals:
            await wait_for_blocked(superuser, by=rival.get_server_pid())
            await rival.execute("COMMIT")
        answers = await task

    assert words(answers) == ["applied", *["replayed account_frozen"] * count]
    assert bool(caplog.records) == is_one_by_one
    await assert_ledger_is_sound(superuser_url)


async def test_a_refusal_decided_while_one_by_one_is_found_and_replayed(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The batch has fallen back because of another command; the key is taken when this one's turn has begun."""
    a, b, bad = await add_accounts(superuser, 3)
    await add_transfer(superuser, bad, await add_account(superuser))  # takes the next version of ``bad``
    command = transfer(a, b)
    units = [[transfer(bad, a)], [command], [transfer(a, b)]]
    async with uncommitted_decision(superuser_url, command.idempotency_key, fingerprint=command.fingerprint) as rival:
        task = asyncio.create_task(settle(engine_database, settings, MAIN, units))
        await Outsider(rival).wait_for_waiters(1)
        await rival.execute("COMMIT")

    assert words(await task) == ["internal_error", "replayed account_frozen", "applied"]


async def test_a_transfer_decided_meanwhile_is_found_and_replayed(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b, c, d = await add_accounts(superuser, 4)
    command = transfer(a, b)
    made = await add_transfer(superuser, c, d)
    async with uncommitted_decision(
        superuser_url,
        command.idempotency_key,
        fingerprint=command.fingerprint,
        outcome="applied",
        resource_id=made,
        problem=None,
    ) as rival:
        task = asyncio.create_task(settle(engine_database, settings, MAIN, [[command], [transfer(a, b)]]))
        await Outsider(rival).wait_for_waiters(1)
        await rival.execute("COMMIT")

    answers = await task
    assert words(answers) == ["replayed applied", "applied"]
    assert posted(answers)[0].id == made
    assert posted(answers)[1].debit_account_version == 1


async def test_a_key_taken_meanwhile_for_another_request_is_refused(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    command, neighbour = transfer(a, b), transfer(a, b)
    async with uncommitted_decision(superuser_url, command.idempotency_key, fingerprint=b"another") as rival:
        task = asyncio.create_task(settle(engine_database, settings, MAIN, [[command], [neighbour]]))
        await Outsider(rival).wait_for_waiters(1)
        await rival.execute("COMMIT")

    assert words(await task) == ["idempotency_key_reused", "applied"]
    await assert_ledger_is_sound(superuser_url)


async def test_a_key_given_back_meanwhile_costs_nothing(
    engine_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b = await add_accounts(superuser, 2)
    command = transfer(a, b)
    async with uncommitted_decision(superuser_url, command.idempotency_key) as rival:
        task = asyncio.create_task(settle(engine_database, settings, MAIN, [[command]]))
        await Outsider(rival).wait_for_waiters(1)
        await rival.execute("ROLLBACK")

    assert words(await task) == ["applied"]
    assert not caplog.records


async def test_the_write_has_a_savepoint_of_its_own(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """A SAVEPOINT that SQLAlchemy keeps back until its own executor is used would protect nothing: what is written
    through the driver must belong to a subtransaction, with an id beside the transaction's own.
    """
    a, b = await add_accounts(superuser, 2)
    command = transfer(a, b)
    async with uncommitted_decision(superuser_url, command.idempotency_key) as rival:
        task = asyncio.create_task(settle(engine_database, settings, MAIN, [[command]]))
        await Outsider(rival).wait_for_waiters(1)
        own_ids = await rival.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"
            " AND pid = (SELECT pid FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted)"
        )
        await rival.execute("ROLLBACK")

    assert words(await task) == ["applied"]
    assert own_ids == 2
