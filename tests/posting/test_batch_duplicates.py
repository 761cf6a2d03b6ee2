"""Another writer decides under a key of the batch between its load and its write, where no lock serializes them."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import pytest

from service.posting.batch import _TOGETHER_TRIES
from service.settings import Settings
from service.storage.database import Database
from tests.posting.obstacles import uncommitted_decision, wait_for_blocked
from tests.support.commands import posted, transfer, words
from tests.support.committing import commit_batch
from tests.support.invariants import assert_ledger_is_sound
from tests.support.other_session import OtherSession
from tests.support.patience import PATIENT
from tests.support.rows import MAIN, add_account, add_accounts, add_transfer


@pytest.fixture
def settings(database_url: str) -> Settings:
    """No attempt ends while the other writers hold it up: another attempt would count their keys anew."""
    return Settings(database_url=database_url, **PATIENT)


async def test_a_rejection_decided_meanwhile_is_found_and_replayed(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The decision is committed between load and write: the write fails on the key, and the batch finds it then."""
    a, b, c = await add_accounts(superuser, 3)
    command = transfer(a, b)
    groups = [[transfer(b, c)], [command], [transfer(a, c)]]
    async with uncommitted_decision(superuser_url, command.idempotency_key, fingerprint=command.fingerprint) as writer:
        task = asyncio.create_task(commit_batch(batch_database, settings, MAIN, groups))
        await OtherSession(writer).wait_for_waiters(1)
        await writer.execute("COMMIT")

    assert words(await task) == ["applied", "replayed account_frozen", "applied"]
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize(("count", "is_one_by_one"), [(2, False), (_TOGETHER_TRIES + 1, True)])
async def test_decisions_of_other_writers_are_found_one_after_another(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    caplog: pytest.LogCaptureFixture,
    count: int,
    *,
    is_one_by_one: bool,
) -> None:
    """The batch is decided again for the first of them. When more come, its groups are written one by one."""
    a, b = await add_accounts(superuser, 2)
    commands = [transfer(a, b, key=f"key-{number:03}") for number in range(count)]
    neighbor = transfer(a, b, key="last")
    groups = [[neighbor], *([one] for one in commands)]
    async with AsyncExitStack() as stack:
        writers = [
            await stack.enter_async_context(
                uncommitted_decision(superuser_url, one.idempotency_key, fingerprint=one.fingerprint)
            )
            for one in commands
        ]
        task = asyncio.create_task(commit_batch(batch_database, settings, MAIN, groups))
        for writer in writers:
            await wait_for_blocked(superuser, by=writer.get_server_pid())
            await writer.execute("COMMIT")
        answers = await task

    assert words(answers) == ["applied", *["replayed account_frozen"] * count]
    assert bool(caplog.records) == is_one_by_one
    await assert_ledger_is_sound(superuser_url)


async def test_a_rejection_decided_while_one_by_one_is_found_and_replayed(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The batch is written one by one because of another command; the key is taken while this group is written."""
    a, b, bad = await add_accounts(superuser, 3)
    await add_transfer(superuser, bad, await add_account(superuser))  # takes the next version of ``bad``
    command = transfer(a, b)
    groups = [[transfer(bad, a)], [command], [transfer(a, b)]]
    async with uncommitted_decision(superuser_url, command.idempotency_key, fingerprint=command.fingerprint) as writer:
        task = asyncio.create_task(commit_batch(batch_database, settings, MAIN, groups))
        await OtherSession(writer).wait_for_waiters(1)
        await writer.execute("COMMIT")

    assert words(await task) == ["internal_error", "replayed account_frozen", "applied"]


async def test_a_transfer_decided_meanwhile_is_found_and_replayed(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
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
    ) as writer:
        task = asyncio.create_task(commit_batch(batch_database, settings, MAIN, [[command], [transfer(a, b)]]))
        await OtherSession(writer).wait_for_waiters(1)
        await writer.execute("COMMIT")

    answers = await task
    assert words(answers) == ["replayed applied", "applied"]
    assert posted(answers)[0].id == made
    assert posted(answers)[1].debit_account_version == 1


async def test_a_key_taken_meanwhile_for_another_request_is_rejected(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    command, neighbor = transfer(a, b), transfer(a, b)
    async with uncommitted_decision(superuser_url, command.idempotency_key, fingerprint=b"another") as writer:
        task = asyncio.create_task(commit_batch(batch_database, settings, MAIN, [[command], [neighbor]]))
        await OtherSession(writer).wait_for_waiters(1)
        await writer.execute("COMMIT")

    assert words(await task) == ["idempotency_key_reused", "applied"]
    await assert_ledger_is_sound(superuser_url)


async def test_a_key_given_back_meanwhile_costs_nothing(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b = await add_accounts(superuser, 2)
    command = transfer(a, b)
    async with uncommitted_decision(superuser_url, command.idempotency_key) as writer:
        task = asyncio.create_task(commit_batch(batch_database, settings, MAIN, [[command]]))
        await OtherSession(writer).wait_for_waiters(1)
        await writer.execute("ROLLBACK")

    assert words(await task) == ["applied"]
    assert not caplog.records


async def test_the_write_has_a_savepoint_of_its_own(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """SQLAlchemy delays a SAVEPOINT until its own next statement, and what the driver writes before would not be
    protected. So the rows that the driver writes must belong to a subtransaction, with an id of its own.
    """
    a, b = await add_accounts(superuser, 2)
    command = transfer(a, b)
    async with uncommitted_decision(superuser_url, command.idempotency_key) as writer:
        task = asyncio.create_task(commit_batch(batch_database, settings, MAIN, [[command]]))
        await OtherSession(writer).wait_for_waiters(1)
        own_ids = await writer.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"
            " AND pid = (SELECT pid FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted)"
        )
        await writer.execute("ROLLBACK")

    assert words(await task) == ["applied"]
    assert own_ids == 2
