"""Retries: what has another attempt, how often and for how long; and readers, which cannot write."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import Failure, StorageError
from service.settings import RetryLimits, Settings
from service.storage.database import Database
from service.storage.retries import allow_another_step, run_with_retries
from service.storage.rows import AccountRow
from service.storage.transactions import Mode, Reader, Transactions
from tests.support.rows import MAIN, add_account
from tests.support.servers import TestDatabase

MANY = 1_000
LONG_SECONDS = 60.0


@pytest.fixture
async def held(superuser: asyncpg.Connection) -> AsyncIterator[UUID]:
    """An account whose row the superuser's session locks until it ends its transaction."""
    account_id = await add_account(superuser)
    await superuser.execute("BEGIN")
    await superuser.execute("SELECT FROM funds.accounts WHERE id = $1 FOR UPDATE", account_id)
    yield account_id
    if superuser.is_in_transaction():
        await superuser.execute("ROLLBACK")


class Attempts:
    """Attempts to lock an account without waiting; counts the attempts and keeps their sessions."""

    def __init__(
        self, pool: Database, account_id: UUID, before: Callable[[int], Awaitable[object]] | None = None
    ) -> None:
        self._pool = pool
        self._account_id = account_id
        self._before = before
        self.sessions: list[AsyncSession] = []

    async def __call__(self) -> str:
        async with self._pool.sessions() as session, session.begin():
            self.sessions.append(session)
            if self._before is not None:
                await self._before(len(self.sessions))
            lock = text("SELECT FROM funds.accounts WHERE id = :id FOR NO KEY UPDATE NOWAIT")
            await session.execute(lock, {"id": self._account_id})
            return "locked"


async def test_attempts_are_bounded(pool: Database, held: UUID) -> None:
    attempts = Attempts(pool, held)
    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempts, RetryLimits(4, LONG_SECONDS))

    assert len(attempts.sessions) == len(set(map(id, attempts.sessions))) == 4
    assert caught.value.failure is Failure.CONTENTION
    assert isinstance(caught.value.__cause__, DBAPIError)


async def test_time_is_bounded(pool: Database, held: UUID) -> None:
    """No attempt begins after the deadline, however many are allowed."""
    attempts = Attempts(pool, held)
    started = asyncio.get_running_loop().time()
    with pytest.raises(StorageError):
        await run_with_retries(attempts, RetryLimits(MANY, 0.2))

    assert 1 < len(attempts.sessions) < MANY
    assert asyncio.get_running_loop().time() - started < LONG_SECONDS / 2


async def test_an_attempt_itself_is_bounded(pool: Database) -> None:
    """An attempt that does not end is cancelled after half of the time that is left, so that another can follow."""
    tries: list[float] = []
    started = asyncio.get_running_loop().time()

    async def attempt() -> str:
        tries.append(asyncio.get_running_loop().time() - started)
        if len(tries) == 1:
            async with pool.sessions() as session:
                await session.execute(text("SELECT pg_sleep(60)"))
        return "answered"

    assert await run_with_retries(attempt, RetryLimits(MANY, 2.2)) == "answered"
    assert 1.0 < tries[1] < 2.2


async def test_no_attempt_outlasts_the_deadline(pool: Database) -> None:
    async def attempt() -> None:
        async with pool.sessions() as session:
            await session.execute(text("SELECT pg_sleep(60)"))

    started = asyncio.get_running_loop().time()
    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempt, RetryLimits(MANY, 0.5))
    assert asyncio.get_running_loop().time() - started < 2.5, "the server's own limit comes later"
    assert caught.value.failure is Failure.UNAVAILABLE


async def test_an_attempt_that_makes_progress_is_not_cut_short(pool: Database) -> None:
    """Twelve steps that the database answers may take longer than the deadline; one step without an answer may not."""

    async def attempt() -> str:
        async with pool.sessions() as session:
            for _ in range(12):
                allow_another_step()
                await session.execute(text("SELECT pg_sleep(0.05)"))
        return "answered"

    assert await run_with_retries(attempt, RetryLimits(1, 0.1)) == "answered"


async def test_the_error_of_an_earlier_attempt_counts_more_than_a_time_out(pool: Database, held: UUID) -> None:
    """The first attempt fails at a lock; the next one has too little time to learn anything."""
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        async with pool.sessions() as session, session.begin():
            if tries == 1:
                await session.execute(text("SET LOCAL lock_timeout = 20"))
            await session.execute(text("SELECT FROM funds.accounts WHERE id = :id FOR UPDATE"), {"id": held})

    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempt, RetryLimits(MANY, 0.5))
    assert tries > 1
    assert caught.value.failure is Failure.CONTENTION


async def test_no_other_attempt_where_a_doubt_could_not_be_cleared_up(pool: Database, held: UUID) -> None:
    attempts = Attempts(pool, held)
    with pytest.raises(StorageError) as caught:
        await run_with_retries(
            attempts,
            RetryLimits(MANY, LONG_SECONDS),
            in_doubt=lambda: len(attempts.sessions) == 2,
            again_in_doubt=False,
        )
    assert caught.value.in_doubt
    assert len(attempts.sessions) == 2


async def test_the_attempt_that_succeeds_is_the_last(pool: Database, held: UUID, superuser: asyncpg.Connection) -> None:
    async def release_at_the_third(number: int) -> None:
        if number == 3:
            await superuser.execute("ROLLBACK")

    attempts = Attempts(pool, held, release_at_the_third)
    assert await run_with_retries(attempts, RetryLimits(MANY, LONG_SECONDS)) == "locked"
    assert len(attempts.sessions) == 3


async def test_a_failure_that_does_not_pass_has_no_other_attempt(pool: Database) -> None:
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        async with pool.sessions() as session:
            await session.execute(text("SELECT FROM funds.nothing"))

    with pytest.raises(ProgrammingError):
        await run_with_retries(attempt, RetryLimits(MANY, LONG_SECONDS))
    assert tries == 1


async def test_a_final_failure_has_no_other_attempt(pool: Database, held: UUID) -> None:
    """An attempt that knows that another one would be wrong raises a StorageError of its own."""
    attempts = Attempts(pool, held)

    async def attempt() -> str:
        try:
            return await attempts()
        except DBAPIError as error:
            raise StorageError(Failure.UNAVAILABLE, in_doubt=True) from error

    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempt, RetryLimits(MANY, LONG_SECONDS))
    assert caught.value.in_doubt
    assert len(attempts.sessions) == 1


async def test_whether_a_commit_is_in_doubt_is_asked_at_the_end(pool: Database, held: UUID) -> None:
    """A COMMIT that any of the attempts has sent counts."""
    attempts = Attempts(pool, held)

    def in_doubt() -> bool:
        return len(attempts.sessions) == 3

    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempts, RetryLimits(3, LONG_SECONDS), in_doubt=in_doubt)
    assert caught.value.in_doubt


async def test_cancelled_work_has_no_other_attempt(pool: Database, held: UUID) -> None:
    async def wait(_: int) -> None:
        task.cancel()

    attempts = Attempts(pool, held, wait)
    task = asyncio.create_task(run_with_retries(attempts, RetryLimits(MANY, LONG_SECONDS)))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(attempts.sessions) == 1


@pytest.fixture
def reader(pool: Database) -> Reader:
    return Reader(Transactions(pool, RetryLimits(3, LONG_SECONDS), Mode.READ_ONLY))


async def test_a_reader_returns_what_the_query_answers(reader: Reader, superuser: asyncpg.Connection) -> None:
    account_id = await add_account(superuser, name="found")

    async def query(session: AsyncSession) -> AccountRow | None:
        return await session.get(AccountRow, (MAIN, account_id))

    found = await reader(query)

    assert found is not None
    assert found.name == "found"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO funds.ledgers (name, created_at) VALUES ('written', now())",
        "UPDATE funds.accounts SET name = 'written'",
        "SELECT FROM funds.accounts FOR UPDATE",
        "WITH made AS (INSERT INTO funds.ledgers (name, created_at) VALUES ('written', now()) RETURNING 1) TABLE made",
    ],
)
async def test_a_reader_cannot_write(reader: Reader, superuser: asyncpg.Connection, statement: str) -> None:
    """The server itself refuses, whatever the role may do elsewhere."""

    async def write(session: AsyncSession) -> None:
        await session.execute(text(statement))

    with pytest.raises(StorageError) as caught:
        await reader(write)

    assert getattr(getattr(caught.value.__cause__, "orig", None), "sqlstate", None) == "25006"
    assert not await superuser.fetchval("SELECT count(*) FROM funds.ledgers WHERE name = 'written'")


async def test_a_reader_leaves_the_pool_as_it_was(
    pool: Database, reader: Reader, superuser: asyncpg.Connection
) -> None:
    """The connection that it used can write again in the next transaction."""
    account_id = await add_account(superuser)

    async def process_id(session: AsyncSession) -> int:
        return int((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    reading = await reader(process_id)
    async with pool.sessions() as session, session.begin():
        assert await process_id(session) == reading
        await session.execute(text("UPDATE funds.accounts SET name = 'x' WHERE id = :id"), {"id": account_id})


async def test_a_reader_of_single_statements_begins_no_transaction(
    pool: Database, superuser: asyncpg.Connection
) -> None:
    """Each statement has its own, and the connection begins transactions again for the next one."""
    account_id = await add_account(superuser)
    reader = Reader(Transactions(pool, RetryLimits(1, LONG_SECONDS), Mode.SINGLE_STATEMENT))
    moments = text("SELECT pg_backend_pid(), now()")  # now() is the start of the transaction

    async def twice(session: AsyncSession) -> tuple[int, bool]:
        process_id, first = (await session.execute(moments)).one()
        _, second = (await session.execute(moments)).one()
        return process_id, first < second

    process_id, apart = await reader(twice)
    assert apart
    async with pool.sessions() as session:
        assert (await session.execute(moments)).one()[0] == process_id
        await session.execute(text("UPDATE funds.accounts SET name = 'x' WHERE id = :id"), {"id": account_id})
        await session.rollback()
    assert await superuser.fetchval("SELECT name FROM funds.accounts WHERE id = $1", account_id) is None


async def test_each_attempt_of_a_reader_has_a_session_and_a_connection_of_its_own(reader: Reader) -> None:
    """The first two attempts end their own connection, and the third uses neither."""
    sessions: list[AsyncSession] = []
    process_ids: list[int] = []

    async def query(session: AsyncSession) -> str:
        sessions.append(session)
        process_ids.append((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())
        if len(sessions) < 3:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return str((await session.execute(text("SHOW transaction_read_only"))).scalar_one())

    assert await reader(query) == "on"
    assert len(set(map(id, sessions))) == len(set(process_ids)) == 3


async def test_a_reader_after_a_restart_of_the_server_needs_one_more_attempt(
    shared_database: TestDatabase, superuser: asyncpg.Connection
) -> None:
    """Every connection of the pool has ended, and the first that fails replaces all."""
    settings = Settings(application_name="restarted")
    pool = Database.connect(shared_database.service_url, settings)
    everyone = asyncio.Barrier(settings.pool_size)

    async def meet(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))
        await everyone.wait()

    reader = Reader(Transactions(pool, RetryLimits(2, LONG_SECONDS), Mode.READ_ONLY))
    await asyncio.gather(*(reader(meet) for _ in range(settings.pool_size)))
    ended = await superuser.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'restarted'"
    )
    assert len(ended) == settings.pool_size

    async def query(session: AsyncSession) -> int:
        return int((await session.execute(text("SELECT 1"))).scalar_one())

    assert await reader(query) == 1
    await pool.close()
