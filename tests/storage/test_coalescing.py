"""Single rows read by one query for all that wait, none of whom can tell."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.accounts import AccountDetails
from service.storage.accounts import AccountRepository
from service.storage.coalescing import CoalescedReads
from service.storage.database import Database
from service.storage.errors import Failure, StorageError
from service.storage.retry import Reader
from tests.rows import MAIN, add_account, add_accounts, add_ledger


class Watched:
    """Coalesced reads of accounts whose queries are seen, and can be stopped between reading and answering."""

    def __init__(self, pool: Database) -> None:
        self.reads = CoalescedReads(Reader(pool, attempts_max=1, deadline_seconds=60), self._query)
        self.queries: list[tuple[int, list[UUID]]] = []
        self.has_read = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.slow_ledger = MAIN
        self.failing = False

    async def _query(self, session: AsyncSession, ledger_id: int, ids: Sequence[UUID]) -> Sequence[AccountDetails]:
        self.queries.append((ledger_id, list(ids)))
        if self.failing:
            await session.execute(text("SELECT FROM funds.accounts FOR UPDATE"))  # a reader may not
        rows = await AccountRepository(session).by_ids(ledger_id, ids)
        if ledger_id == self.slow_ledger:
            self.has_read.set()
            await self.may_answer.wait()
        return rows

    def get(self, account_id: UUID, ledger_id: int = MAIN) -> asyncio.Task[AccountDetails | None]:
        return asyncio.create_task(self._get(ledger_id, account_id))

    async def _get(self, ledger_id: int, account_id: UUID) -> AccountDetails | None:
        row, as_of = await self.reads.get(ledger_id, account_id)
        assert as_of is None, "the primary was read"
        return row

    async def stop_after_reading(self, account_id: UUID) -> asyncio.Task[AccountDetails | None]:
        """Ask for an account and return when its query has read it and still owes the answer."""
        self.has_read.clear()
        self.may_answer.clear()
        task = self.get(account_id)
        await self.has_read.wait()
        return task


@pytest.fixture
def watched(pool: Database) -> Watched:
    return Watched(pool)


def _names(rows: Sequence[AccountDetails | None]) -> list[str | None]:
    return [None if row is None else row.name for row in rows]


async def test_what_is_asked_at_once_is_one_query(watched: Watched, outsider: asyncpg.Connection) -> None:
    ids = [await add_account(outsider, name=str(number)) for number in range(50)]

    rows = await asyncio.gather(*map(watched.get, ids))

    assert _names(rows) == [str(number) for number in range(50)]
    assert watched.queries == [(MAIN, ids)]


async def test_what_is_asked_during_a_query_is_the_next_one(watched: Watched, outsider: asyncpg.Connection) -> None:
    first, *others = await add_accounts(outsider, 20)
    tasks = [await watched.stop_after_reading(first)]
    tasks += map(watched.get, others)
    await asyncio.sleep(0)
    watched.may_answer.set()
    rows = await asyncio.gather(*tasks)

    assert [row and row.id for row in rows] == [first, *others]
    assert watched.queries == [(MAIN, [first]), (MAIN, others)]


async def test_a_row_asked_by_many_is_read_once(watched: Watched, outsider: asyncpg.Connection) -> None:
    account_id = await add_account(outsider)

    rows = await asyncio.gather(*(watched.get(account_id) for _ in range(50)))

    assert {row and row.id for row in rows} == {account_id}
    assert watched.queries == [(MAIN, [account_id])]


async def test_a_read_sees_what_was_written_before_it_began(watched: Watched, outsider: asyncpg.Connection) -> None:
    """The query under way has read the old row already: whoever asks now must wait for the next one."""
    account_id = await add_account(outsider, name="old")
    early = await watched.stop_after_reading(account_id)
    await outsider.execute("UPDATE funds.accounts SET name = 'new' WHERE id = $1", account_id)
    late = watched.get(account_id)
    await asyncio.sleep(0)
    watched.may_answer.set()

    assert _names(await asyncio.gather(early, late)) == ["old", "new"]


async def test_one_read_after_another_reads_anew(watched: Watched, outsider: asyncpg.Connection) -> None:
    account_id = await add_account(outsider, name="old")
    before = await watched.get(account_id)
    await outsider.execute("UPDATE funds.accounts SET name = 'new' WHERE id = $1", account_id)

    assert _names([before, await watched.get(account_id)]) == ["old", "new"]


async def test_a_row_that_is_missing_is_none(watched: Watched, outsider: asyncpg.Connection) -> None:
    """To its own caller only; a row of another ledger is as missing as one that never was."""
    other = await add_ledger(outsider, "elsewhere")
    here, there = await add_account(outsider), await add_account(outsider, ledger_id=other)

    rows = await asyncio.gather(*map(watched.get, (uuid4(), here, there)))

    assert [row and row.id for row in rows] == [None, here, None]


async def test_ledgers_do_not_wait_for_each_other(watched: Watched, outsider: asyncpg.Connection) -> None:
    other = await add_ledger(outsider, "neighbour")
    here, there = await add_account(outsider), await add_account(outsider, ledger_id=other)
    slow = await watched.stop_after_reading(here)

    row = await watched.get(there, other)

    assert row is not None
    assert row.id == there
    assert not slow.done()
    watched.may_answer.set()
    await slow


@pytest.mark.parametrize("one_leaves", [False, True])
async def test_a_failure_reaches_all_who_shared_the_query(
    watched: Watched, outsider: asyncpg.Connection, *, one_leaves: bool
) -> None:
    """And nobody after them."""
    a, b = await add_accounts(outsider, 2)
    watched.failing = True
    tasks = [watched.get(a), watched.get(b), watched.get(b)]
    await asyncio.sleep(0)
    if one_leaves:
        tasks.pop(0).cancel()
    for failure in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(failure, StorageError)
        assert failure.failure is Failure.UNAVAILABLE

    watched.failing = False
    row = await watched.get(a)
    assert row is not None
    assert len(watched.queries) == 2


async def test_a_failure_does_not_reach_who_asked_later(watched: Watched, outsider: asyncpg.Connection) -> None:
    a, b = await add_accounts(outsider, 2)
    early = await watched.stop_after_reading(a)
    await outsider.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'funds_service'"
    )
    late = watched.get(b)
    await asyncio.sleep(0)
    watched.may_answer.set()

    with pytest.raises(StorageError):
        await early
    row = await late
    assert row is not None
    assert row.id == b


@pytest.mark.parametrize("under_way", [True, False])
async def test_a_caller_that_leaves_harms_nobody(
    watched: Watched, outsider: asyncpg.Connection, *, under_way: bool
) -> None:
    """Whether the query that it shares has begun or not."""
    first, second = await add_accounts(outsider, 2)
    if under_way:
        leaving = await watched.stop_after_reading(first)
        staying = watched.get(second)
    else:
        waiting_for = await watched.stop_after_reading(first)
        leaving, staying = watched.get(second), watched.get(second)
    await asyncio.sleep(0)
    leaving.cancel()
    watched.may_answer.set()

    row = await staying
    assert row is not None
    assert row.id == second
    assert leaving.cancelled()
    if not under_way:
        assert await waiting_for is not None


async def test_everybody_may_leave(watched: Watched, outsider: asyncpg.Connection) -> None:
    """Also when the query fails that nobody waits for any more."""
    account_id = await add_account(outsider)
    watched.failing = True
    leaving = watched.get(account_id)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    watched.failing = False

    assert await watched.get(account_id) is not None
