"""Trying again: what, how often, how long; and reads that can only read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from service.settings import Settings
from service.storage.database import Database
from service.storage.errors import Failure, StorageError
from service.storage.models import Account
from service.storage.retry import Reader, allow_another_step, run_with_retries
from tests.rows import MAIN, add_account
from tests.servers import TestDatabase

MANY = 1_000
LONG_SECONDS = 60.0


@pytest.fixture
async def held(outsider: asyncpg.Connection) -> AsyncIterator[UUID]:
    """An account whose row the outsider holds until he ends his transaction."""
    account_id = await add_account(outsider)
    await outsider.execute("BEGIN")
    await outsider.execute("SELECT FROM funds.accounts WHERE id = $1 FOR UPDATE", account_id)
    yield account_id
    if outsider.is_in_transaction():
        await outsider.execute("ROLLBACK")


class Attempts:
    """Tries to lock an account without waiting; counts the tries and keeps their sessions."""

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


async def test_tries_are_bounded(pool: Database, held: UUID) -> None:
    attempts = Attempts(pool, held)
    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempts, attempts_max=4, deadline_seconds=LONG_SECONDS)

    assert len(attempts.sessions) == len(set(map(id, attempts.sessions))) == 4
    assert caught.value.failure is Failure.CONTENTION
    assert isinstance(caught.value.__cause__, DBAPIError)


async def test_time_is_bounded(pool: Database, held: UUID) -> None:
    """No further try begins after the deadline, however many would be allowed."""
    attempts = Attempts(pool, held)
    started = asyncio.get_running_loop().time()
    with pytest.raises(StorageError):
        await run_with_retries(attempts, attempts_max=MANY, deadline_seconds=0.2)

    assert 1 < len(attempts.sessions) < MANY
    assert asyncio.get_running_loop().time() - started < 1


async def test_a_try_itself_is_bounded(pool: Database) -> None:
    """One that never ends is cut short, at half of what is left, so that another one can go better."""
    tries: list[float] = []
    started = asyncio.get_running_loop().time()

    async def attempt() -> str:
        tries.append(asyncio.get_running_loop().time() - started)
        if len(tries) == 1:
            async with pool.sessions() as session:
                await session.execute(text("SELECT pg_sleep(60)"))
        return "answered"

    assert await run_with_retries(attempt, attempts_max=MANY, deadline_seconds=2.2) == "answered"
    assert 1.0 < tries[1] < 2.2


async def test_no_try_outlasts_the_deadline(pool: Database) -> None:
    async def attempt() -> None:
        async with pool.sessions() as session:
            await session.execute(text("SELECT pg_sleep(60)"))

    started = asyncio.get_running_loop().time()
    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempt, attempts_max=MANY, deadline_seconds=0.5)
    assert asyncio.get_running_loop().time() - started < 2
    assert caught.value.failure is Failure.UNAVAILABLE


async def test_a_try_that_gets_ahead_is_not_cut_short(pool: Database) -> None:
    """Twelve steps that the database answers take longer than the deadline; a silence within one would not."""

    async def attempt() -> str:
        async with pool.sessions() as session:
            for _ in range(12):
                allow_another_step()
                await session.execute(text("SELECT pg_sleep(0.05)"))
        return "answered"

    assert await run_with_retries(attempt, attempts_max=1, deadline_seconds=0.1) == "answered"


async def test_what_was_told_counts_more_than_a_try_cut_short(pool: Database, held: UUID) -> None:
    """The first try is told of a lock; the next one has too little time to be told anything."""
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        async with pool.sessions() as session, session.begin():
            if tries == 1:
                await session.execute(text("SET LOCAL lock_timeout = 20"))
            await session.execute(text("SELECT FROM funds.accounts WHERE id = :id FOR UPDATE"), {"id": held})

    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempt, attempts_max=MANY, deadline_seconds=0.5)
    assert tries > 1
    assert caught.value.failure is Failure.CONTENTION


async def test_no_other_try_where_a_doubt_could_not_be_settled(pool: Database, held: UUID) -> None:
    attempts = Attempts(pool, held)
    with pytest.raises(StorageError) as caught:
        await run_with_retries(
            attempts,
            attempts_max=MANY,
            deadline_seconds=LONG_SECONDS,
            outcome_unknown=lambda: len(attempts.sessions) == 2,
            again_in_doubt=False,
        )
    assert caught.value.outcome_unknown
    assert len(attempts.sessions) == 2


async def test_the_try_that_succeeds_is_the_last(pool: Database, held: UUID, outsider: asyncpg.Connection) -> None:
    async def release_at_the_third(number: int) -> None:
        if number == 3:
            await outsider.execute("ROLLBACK")

    attempts = Attempts(pool, held, release_at_the_third)
    assert await run_with_retries(attempts, attempts_max=MANY, deadline_seconds=LONG_SECONDS) == "locked"
    assert len(attempts.sessions) == 3


async def test_what_cannot_heal_is_not_tried_again(pool: Database) -> None:
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        async with pool.sessions() as session:
            await session.execute(text("SELECT FROM funds.nothing"))

    with pytest.raises(ProgrammingError):
        await run_with_retries(attempt, attempts_max=MANY, deadline_seconds=LONG_SECONDS)
    assert tries == 1


async def test_a_failure_that_was_already_told_is_not_tried_again(pool: Database, held: UUID) -> None:
    """An attempt may know that another try would be wrong: it says so with a StorageError of its own."""
    attempts = Attempts(pool, held)

    async def attempt() -> str:
        try:
            return await attempts()
        except DBAPIError as error:
            raise StorageError(Failure.UNAVAILABLE, outcome_unknown=True) from error

    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempt, attempts_max=MANY, deadline_seconds=LONG_SECONDS)
    assert caught.value.outcome_unknown
    assert len(attempts.sessions) == 1


async def test_whether_the_outcome_is_known_is_asked_at_the_end(pool: Database, held: UUID) -> None:
    """A COMMIT that was sent by any of the tries counts."""
    attempts = Attempts(pool, held)

    def outcome_unknown() -> bool:
        return len(attempts.sessions) == 3

    with pytest.raises(StorageError) as caught:
        await run_with_retries(attempts, attempts_max=3, deadline_seconds=LONG_SECONDS, outcome_unknown=outcome_unknown)
    assert caught.value.outcome_unknown


async def test_who_is_cancelled_does_not_try_again(pool: Database, held: UUID) -> None:
    async def wait(_: int) -> None:
        task.cancel()

    attempts = Attempts(pool, held, wait)
    task = asyncio.create_task(run_with_retries(attempts, attempts_max=MANY, deadline_seconds=LONG_SECONDS))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(attempts.sessions) == 1


@pytest.fixture
def reader(pool: Database) -> Reader:
    return Reader(pool, attempts_max=3, deadline_seconds=LONG_SECONDS)


async def test_a_reader_returns_what_the_query_answers(reader: Reader, outsider: asyncpg.Connection) -> None:
    account_id = await add_account(outsider, name="found")

    async def query(session: AsyncSession) -> Account | None:
        return await session.get(Account, (MAIN, account_id))

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
async def test_a_reader_cannot_write(reader: Reader, outsider: asyncpg.Connection, statement: str) -> None:
    """The server itself refuses, whatever the role may do elsewhere."""

    async def write(session: AsyncSession) -> None:
        await session.execute(text(statement))

    with pytest.raises(StorageError) as caught:
        await reader(write)

    assert getattr(getattr(caught.value.__cause__, "orig", None), "sqlstate", None) == "25006"
    assert not await outsider.fetchval("SELECT count(*) FROM funds.ledgers WHERE name = 'written'")


async def test_a_reader_leaves_the_pool_as_it_was(pool: Database, reader: Reader, outsider: asyncpg.Connection) -> None:
    """The connection that it read with writes again for the next one."""
    account_id = await add_account(outsider)

    async def process_id(session: AsyncSession) -> int:
        return int((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    reading = await reader(process_id)
    async with pool.sessions() as session, session.begin():
        assert await process_id(session) == reading
        await session.execute(text("UPDATE funds.accounts SET name = 'x' WHERE id = :id"), {"id": account_id})


async def test_a_reader_of_single_statements_begins_no_transaction(
    pool: Database, outsider: asyncpg.Connection
) -> None:
    """Each statement has its own, and the connection begins transactions again for the next one."""
    account_id = await add_account(outsider)
    reader = Reader(pool, attempts_max=1, deadline_seconds=LONG_SECONDS, single_statements=True)
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
    assert await outsider.fetchval("SELECT name FROM funds.accounts WHERE id = $1", account_id) is None


async def test_each_try_of_a_reader_has_a_session_and_a_connection_of_its_own(reader: Reader) -> None:
    """The first two end their own connection: nothing of them serves the third."""
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


async def test_a_reader_that_meets_a_server_just_restarted_needs_one_more_try(
    shared_database: TestDatabase, outsider: asyncpg.Connection
) -> None:
    """Every connection of the pool is dead; the first that is met tells of all."""
    settings = Settings(application_name="restarted")
    pool = Database.connect(shared_database.service_url, settings)
    everyone = asyncio.Barrier(settings.pool_size)

    async def meet(session: AsyncSession) -> None:
        await session.execute(text("SELECT 1"))
        await everyone.wait()

    reader = Reader(pool, attempts_max=2, deadline_seconds=LONG_SECONDS)
    await asyncio.gather(*(reader(meet) for _ in range(settings.pool_size)))
    ended = await outsider.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'restarted'"
    )
    assert len(ended) == settings.pool_size

    async def query(session: AsyncSession) -> int:
        return int((await session.execute(text("SELECT 1"))).scalar_one())

    assert await reader(query) == 1
    await pool.close()
