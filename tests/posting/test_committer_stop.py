"""The committer stops: each accepted submission is finished, or its caller is told what is certain."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from service.errors import Failure, OverloadedError, StorageError
from service.settings import Settings
from service.storage.database import Database
from tests.posting.callers import Start, busy, queued, submit
from tests.support.commands import transfer, words
from tests.support.committing import make_committer
from tests.support.other_session import wait_until
from tests.support.rows import MAIN


async def test_stopping_finishes_what_was_accepted(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    committer = await start(batches_in_flight_max=1)
    async with busy(committer, superuser, superuser_url) as first:
        tasks = [submit(committer, transfer(*accounts)) for _ in range(20)]
        await queued()
        stopping = asyncio.create_task(committer.stop())
        await queued()
        with pytest.raises(OverloadedError):
            await committer.submit(MAIN, [[transfer(*accounts)]])
    await stopping

    assert all(task.done() for task in (first, *tasks))
    assert {word for task in (first, *tasks) for word in words(task.result())} == {"applied"}
    assert not committer.running
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 21


async def test_stopping_gives_up_after_its_time_and_says_what_it_knows(
    start: Start, superuser: asyncpg.Connection, superuser_url: str, accounts: tuple[UUID, UUID]
) -> None:
    """The batch under way is in doubt; the submissions that still wait are certainly not applied."""
    committer = await start(batches_in_flight_max=1, drain_timeout_seconds=0.1)
    async with busy(committer, superuser, superuser_url) as under_way:
        waiting = [submit(committer, transfer(*accounts)) for _ in range(3)]
        await queued()
        await committer.stop()
        with pytest.raises(StorageError) as caught:
            await under_way
        assert (caught.value.failure, caught.value.in_doubt) == (Failure.UNAVAILABLE, True)
        for failure in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failure, OverloadedError)

    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
    await wait_until(lambda: _is(superuser, sessions, 1))  # the session of this query
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 0


async def _is(connection: asyncpg.Connection, query: str, expected: int) -> bool:
    return bool(await connection.fetchval(query) == expected)


async def test_a_committer_that_never_started_stops(settings: Settings, batch_database: Database) -> None:
    committer = make_committer(batch_database, settings)
    assert not committer.running
    await committer.stop()
    with pytest.raises(OverloadedError):
        await committer.submit(MAIN, [])
