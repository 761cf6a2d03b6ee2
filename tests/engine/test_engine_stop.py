"""The engine stops: what was accepted is finished or told the truth."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from service.engine.engine import TransferEngine
from service.engine.queue import OverloadedError
from service.settings import Settings
from service.storage.database import Database
from service.storage.errors import Failure, StorageError
from tests.concurrency.outsider import wait_until
from tests.engine.callers import Start, busy, queued, submit
from tests.engine.commands import transfer, words
from tests.rows import MAIN


async def test_stopping_finishes_what_was_accepted(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    engine = await start(batches_in_flight_max=1)
    async with busy(engine, superuser, superuser_url) as first:
        tasks = [submit(engine, transfer(*accounts)) for _ in range(20)]
        await queued()
        stopping = asyncio.create_task(engine.stop())
        await queued()
        with pytest.raises(OverloadedError):
            await engine.submit(MAIN, [[transfer(*accounts)]])
    await stopping

    assert all(task.done() for task in (first, *tasks))
    assert {word for task in (first, *tasks) for word in words(task.result())} == {"applied"}
    assert not engine.running
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 21


async def test_stopping_gives_up_after_its_time_and_says_what_it_knows(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    """What is under way may have been done as far as anybody can tell; what still waits certainly was not."""
    engine = await start(batches_in_flight_max=1, drain_timeout_seconds=0.1)
    async with busy(engine, superuser, superuser_url) as under_way:
        waiting = [submit(engine, transfer(*accounts)) for _ in range(3)]
        await queued()
        await engine.stop()
        with pytest.raises(StorageError) as caught:
            await under_way
        assert (caught.value.failure, caught.value.outcome_unknown) == (Failure.UNAVAILABLE, True)
        for failure in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failure, OverloadedError)

    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
    await wait_until(lambda: _is(superuser, sessions, 1))  # the one that asks
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 0


async def _is(connection: asyncpg.Connection, query: str, expected: int) -> bool:
    return bool(await connection.fetchval(query) == expected)


async def test_an_engine_that_never_started_stops(settings: Settings, engine_database: Database) -> None:
    engine = TransferEngine(engine_database, settings)
    assert not engine.running
    await engine.stop()
    with pytest.raises(OverloadedError):
        await engine.submit(MAIN, [])
