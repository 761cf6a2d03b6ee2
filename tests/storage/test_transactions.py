"""The owner of transactions: what commits, what rolls back, what runs again, and what is in doubt."""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import HoldsInTheWayError, StorageError
from service.settings import RetryLimits, Settings
from service.storage.database import Database
from service.storage.transactions import Mode, Progress, Transactions
from tests.support.commit_proxy import CommitProxy, Fault, commit_proxy
from tests.support.rows import add_account
from tests.support.servers import TestDatabase

Rename = Callable[[str], Callable[[AsyncSession], Awaitable[str]]]
LIMITS = RetryLimits(attempts_max=3, deadline_seconds=60.0)


@pytest.fixture
async def proxy(shared_database: TestDatabase) -> AsyncIterator[CommitProxy]:
    async with commit_proxy(shared_database.service_url) as proxy:
        yield proxy


@pytest.fixture
async def cut(proxy: CommitProxy) -> AsyncIterator[Database]:
    """Connections through the proxy."""
    database = Database.connect(proxy.url, Settings())
    yield database
    await database.close()


@pytest.fixture
async def account(superuser: asyncpg.Connection) -> "Account":
    """A unit of work that renames an account, and the name that is committed."""
    account_id = await add_account(superuser, name="before")

    def rename(name: str) -> Callable[[AsyncSession], Awaitable[str]]:
        async def work(session: AsyncSession) -> str:
            await session.execute(
                text("UPDATE funds.accounts SET name = :name WHERE id = :id"), {"name": name, "id": account_id}
            )
            return name

        return work

    async def committed() -> str | None:
        name: str | None = await superuser.fetchval("SELECT name FROM funds.accounts WHERE id = $1", account_id)
        return name

    return rename, committed


Account = tuple[Rename, Callable[[], Awaitable[str | None]]]


async def test_what_returns_is_committed_and_what_raises_is_not(pool: Database, account: Account) -> None:
    rename, committed = account
    transactions = Transactions(pool, LIMITS)
    assert await transactions.run(rename("after")) == "after"
    assert await committed() == "after"

    async def fail(session: AsyncSession) -> str:
        await rename("never")(session)
        raise HoldsInTheWayError([])

    with pytest.raises(HoldsInTheWayError):
        await transactions.run(fail)
    assert await committed() == "after"


@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.ANSWER_LOST])
async def test_a_commit_in_doubt_runs_again(proxy: CommitProxy, cut: Database, account: Account, fault: Fault) -> None:
    rename, committed = account
    sessions: list[AsyncSession] = []

    async def work(session: AsyncSession) -> str:
        sessions.append(session)
        return await rename(f"attempt {len(sessions)}")(session)

    proxy.break_commits(fault, every_commit=True)
    assert await Transactions(cut, LIMITS).run(work) == "attempt 2"
    assert await committed() == "attempt 2"
    assert len(set(map(id, sessions))) == 2, "each attempt has a session of its own"


@pytest.mark.parametrize(("fault", "name"), [(Fault.REQUEST_LOST, "before"), (Fault.ANSWER_LOST, "after")])
async def test_work_that_cannot_find_out_does_not_run_again_in_doubt(
    proxy: CommitProxy, cut: Database, account: Account, fault: Fault, name: str
) -> None:
    """The outcome is unknown: the COMMIT may or may not have been done."""
    rename, committed = account
    proxy.break_commits(fault, every_commit=True)
    with pytest.raises(StorageError) as caught:
        await Transactions(cut, LIMITS).run(rename("after"), again_in_doubt=False)
    assert caught.value.in_doubt
    assert await committed() == name


@pytest.mark.parametrize("mode", [Mode.READ_WRITE, Mode.READ_ONLY])
async def test_what_changed_nothing_is_never_in_doubt(proxy: CommitProxy, cut: Database, mode: Mode) -> None:
    """The work says that it wrote nothing, or its mode cannot write at all."""
    transactions = Transactions(cut, LIMITS, mode)

    async def read(session: AsyncSession) -> int:
        return int((await session.execute(text("SELECT 1"))).scalar_one())

    def writes(_: int) -> bool:
        return mode is not Mode.READ_WRITE

    proxy.break_commits(Fault.ANSWER_LOST, every_commit=True)
    assert await transactions.run(read, writes=writes, again_in_doubt=False) == 1
    proxy.break_commits(Fault.ANSWER_LOST, count=LIMITS.attempts_max, every_commit=True)
    with pytest.raises(StorageError) as caught:
        await transactions.run(read, writes=writes)
    assert not caught.value.in_doubt


@pytest.mark.parametrize("error", [ZeroDivisionError(), HoldsInTheWayError([])])
async def test_what_is_raised_after_a_commit_in_doubt_is_known_to_come_after_it(
    proxy: CommitProxy, cut: Database, account: Account, error: Exception
) -> None:
    rename, committed = account
    attempts = 0
    progress = Progress()

    async def work(session: AsyncSession) -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            assert progress.commit_sent
            raise error
        return await rename("after")(session)

    proxy.break_commits(Fault.ANSWER_LOST, every_commit=True)
    with pytest.raises(type(error)):
        await Transactions(cut, LIMITS).run(work, progress=progress)
    assert progress.commit_sent
    assert await committed() == "after"


async def test_what_is_raised_before_it_is_not(pool: Database) -> None:
    progress = Progress()

    async def work(_: AsyncSession) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Transactions(pool, LIMITS).run(work, progress=progress)
    assert not progress.commit_sent


@pytest.mark.parametrize("mode", [Mode.READ_ONLY, Mode.SNAPSHOT])
async def test_a_mode_that_reads_cannot_write(pool: Database, account: Account, mode: Mode) -> None:
    rename, committed = account
    with pytest.raises(StorageError):
        await Transactions(pool, RetryLimits(1, 60.0), mode).run(rename("after"))
    assert await committed() == "before"


async def test_a_snapshot_does_not_change(pool: Database, account: Account) -> None:
    """What other sessions commit meanwhile is not visible in a snapshot, and is visible without one."""
    rename, _ = account
    names = text("SELECT count(*) FROM funds.accounts WHERE name = 'meanwhile'")

    async def twice(session: AsyncSession) -> bool:
        before = (await session.execute(names)).scalar_one()
        await Transactions(pool, LIMITS).run(rename("meanwhile"))
        same: bool = before == (await session.execute(names)).scalar_one()
        await Transactions(pool, LIMITS).run(rename("before"))
        return same

    assert await Transactions(pool, LIMITS, Mode.SNAPSHOT).run(twice)
    assert not await Transactions(pool, LIMITS, Mode.READ_ONLY).run(twice)
