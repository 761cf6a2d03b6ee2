"""Single rows that one query reads for all waiting callers, each of which gets what a query of its own would give."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.accounts import AccountDetails
from service.errors import Failure, StorageError
from service.settings import RetryLimits
from service.storage.coalescing import CoalescedReads
from service.storage.database import Database
from service.storage.repositories.accounts import AccountRepository
from service.storage.transactions import Mode, Reader, Transactions
from tests.support.rows import MAIN, add_account, add_accounts, add_ledger


class Watched:
    """Coalesced reads of accounts. Tests can see the queries, and stop one after it has read and before it answers."""

    def __init__(self, pool: Database) -> None:
        self.reads = CoalescedReads(Reader(Transactions(pool, RetryLimits(1, 60), Mode.READ_ONLY)), self._query)
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
        """Start the read of an account and return when its query has read the row and has not answered yet."""
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


async def test_concurrent_reads_are_one_query(watched: Watched, superuser: asyncpg.Connection) -> None:
    ids = [await add_account(superuser, name=str(number)) for number in range(50)]

    rows = await asyncio.gather(*map(watched.get, ids))

    assert _names(rows) == [str(number) for number in range(50)]
    assert watched.queries == [(MAIN, ids)]


async def test_reads_during_a_query_are_the_next_query(watched: Watched, superuser: asyncpg.Connection) -> None:
    first, *others = await add_accounts(superuser, 20)
    tasks = [await watched.stop_after_reading(first)]
    tasks += map(watched.get, others)
    await asyncio.sleep(0)
    watched.may_answer.set()
    rows = await asyncio.gather(*tasks)

    assert [row and row.id for row in rows] == [first, *others]
    assert watched.queries == [(MAIN, [first]), (MAIN, others)]


async def test_a_row_wanted_by_many_callers_is_read_once(watched: Watched, superuser: asyncpg.Connection) -> None:
    account_id = await add_account(superuser)

    rows = await asyncio.gather(*(watched.get(account_id) for _ in range(50)))

    assert {row and row.id for row in rows} == {account_id}
    assert watched.queries == [(MAIN, [account_id])]


async def test_a_read_sees_what_was_written_before_it_began(watched: Watched, superuser: asyncpg.Connection) -> None:
    """The query under way has already read the old row: a caller that comes now must wait for the next query."""
    account_id = await add_account(superuser, name="old")
    early = await watched.stop_after_reading(account_id)
    await superuser.execute("UPDATE funds.accounts SET name = 'new' WHERE id = $1", account_id)
    late = watched.get(account_id)
    await asyncio.sleep(0)
    watched.may_answer.set()

    assert _names(await asyncio.gather(early, late)) == ["old", "new"]


async def test_one_read_after_another_reads_anew(watched: Watched, superuser: asyncpg.Connection) -> None:
    account_id = await add_account(superuser, name="old")
    before = await watched.get(account_id)
    await superuser.execute("UPDATE funds.accounts SET name = 'new' WHERE id = $1", account_id)

    assert _names([before, await watched.get(account_id)]) == ["old", "new"]


async def test_a_row_that_is_missing_is_none(watched: Watched, superuser: asyncpg.Connection) -> None:
    """Only its own caller gets None. A row of another ledger is missing just as one that never existed."""
    other = await add_ledger(superuser, "elsewhere")
    here, there = await add_account(superuser), await add_account(superuser, ledger_id=other)

    rows = await asyncio.gather(*map(watched.get, (uuid4(), here, there)))

    assert [row and row.id for row in rows] == [None, here, None]


async def test_ledgers_do_not_wait_for_each_other(watched: Watched, superuser: asyncpg.Connection) -> None:
    other = await add_ledger(superuser, "neighbour")
    here, there = await add_account(superuser), await add_account(superuser, ledger_id=other)
    slow = await watched.stop_after_reading(here)

    row = await watched.get(there, other)

    assert row is not None
    assert row.id == there
    assert not slow.done()
    watched.may_answer.set()
    await slow


@pytest.mark.parametrize("one_leaves", [False, True])
async def test_a_failure_reaches_all_callers_of_the_query(
    watched: Watched, superuser: asyncpg.Connection, *, one_leaves: bool
) -> None:
    """Callers that come after them do not get it."""
    a, b = await add_accounts(superuser, 2)
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


async def test_a_failure_does_not_reach_later_callers(watched: Watched, superuser: asyncpg.Connection) -> None:
    a, b = await add_accounts(superuser, 2)
    early = await watched.stop_after_reading(a)
    await superuser.execute(
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
async def test_a_caller_that_is_cancelled_affects_no_other(
    watched: Watched, superuser: asyncpg.Connection, *, under_way: bool
) -> None:
    """The query that it shares may be under way or not yet begun."""
    first, second = await add_accounts(superuser, 2)
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


async def test_all_callers_may_be_cancelled(watched: Watched, superuser: asyncpg.Connection) -> None:
    """A failure of the query that no caller waits for any more does no harm, either."""
    account_id = await add_account(superuser)
    watched.failing = True
    leaving = watched.get(account_id)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    watched.failing = False

    assert await watched.get(account_id) is not None
