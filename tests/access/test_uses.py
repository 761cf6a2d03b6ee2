"""How often tokens are used: counted by every process, written from time to time, kept while they cannot be written."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from service.access.tokens import issue
from service.access.uses import TokenUses
from service.errors import StorageError
from service.settings import RetryLimits, Settings
from service.storage.database import Database
from service.storage.repositories import Repositories
from service.storage.repositories.token_uses import DayOfUse, Uses
from service.storage.transactions import Transactions
from tests.support.application import serving
from tests.support.servers import TestDatabase


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def superuser(test_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(test_database.superuser_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database(test_database: TestDatabase) -> AsyncIterator[Database]:
    """The service's connections."""
    database = Database.connect(test_database.service_url, Settings(lock_timeout_ms=100))
    yield database
    await database.close()


async def make_token(test_database: TestDatabase, client: str = "payroll", scope: str = "read") -> tuple[str, UUID]:
    """A new token, and its id."""
    operator = Database.connect(test_database.operator_url, Settings())
    async with operator.sessions() as session, session.begin():
        made = await issue(session, client=client, scopes=[scope])
        token_id = (await Repositories(session).tokens.all())[-1].id
    await operator.close()
    return made.token, token_id


async def counted(database: Database, token_id: UUID) -> list[DayOfUse]:
    async with database.sessions() as session:
        return list(await Repositories(session).token_uses.of(token_id))


async def test_several_processes_add_up(database: Database, test_database: TestDatabase) -> None:
    _, token_id = await make_token(test_database)
    transactions, clock = Transactions(database, RetryLimits(1, 5)), Clock()
    processes = [TokenUses(transactions, clock=clock) for _ in range(3)]
    began = datetime.now(UTC)
    for number, uses in enumerate(processes):
        for _ in range(10**number):
            uses.of(token_id, clock.now).count(clock.now)
    clock.now += 5
    for uses in processes:
        await uses.write()
        await uses.write()  # what is written is not counted again
    [day] = await counted(database, token_id)
    assert day.requests == 111
    # The last use was five seconds before it was written; the test may have lasted longer than that, too.
    assert abs(day.last_used_at - (began - timedelta(seconds=5))) < timedelta(seconds=60)
    async with database.sessions() as session:
        assert await Repositories(session).token_uses.last() == {token_id: day.last_used_at}


async def test_the_last_use_never_goes_back(database: Database, test_database: TestDatabase) -> None:
    """A process that writes later may have counted earlier; a day is that of the uses, not of the writing."""
    _, token_id = await make_token(test_database)
    async with database.sessions() as session, session.begin():
        repository = Repositories(session).token_uses
        await repository.add([Uses(token_id, 5, timedelta())])
        await repository.add([Uses(token_id, 7, timedelta(days=2))])
        await repository.add([Uses(token_id, 1, timedelta(days=2))])
        await repository.add([Uses(token_id, 1, timedelta(days=2, milliseconds=1))])
    days = await counted(database, token_id)
    assert sum(one.requests for one in days) == 14
    assert days[-1].requests == 5
    assert all(one.day == one.last_used_at.astimezone(UTC).date() for one in days)
    assert timedelta(days=1, hours=23) < days[-1].last_used_at - days[-2].last_used_at < timedelta(days=2, seconds=60)


async def test_what_could_not_be_written_is_written_later(
    database: Database, test_database: TestDatabase, superuser: asyncpg.Connection
) -> None:
    _, token_id = await make_token(test_database)
    clock = Clock()
    uses = TokenUses(Transactions(database, RetryLimits(1, 5)), clock=clock)
    use = uses.of(token_id, clock.now)
    use.count(clock.now)
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE funds.token_uses")
        with pytest.raises(StorageError):
            await uses.write()
        use.count(clock.now)
    await uses.write()
    [day] = await counted(database, token_id)
    assert day.requests == 2


def test_a_token_that_is_not_used_for_an_hour_leaves_the_memory(database: Database) -> None:
    clock = Clock()
    uses = TokenUses(Transactions(database, RetryLimits(1, 5)), clock=clock)
    idle, other = uses.of(UUID(int=1), clock.now), uses.of(UUID(int=2), clock.now)
    clock.now += 3_000
    assert uses.of(UUID(int=2), clock.now) is other
    clock.now += 1_000
    uses.forget_idle()
    assert uses.of(UUID(int=1), clock.now) is not idle
    assert uses.of(UUID(int=2), clock.now) is other


async def test_every_request_with_a_token_of_the_database_is_counted(
    database: Database, test_database: TestDatabase
) -> None:
    """Until the stop, and what is refused, too. The token of the settings is no row, and is not counted."""
    (token, token_id), (unused, unused_id) = [await make_token(test_database, client) for client in ("a", "b")]
    async with serving(test_database) as application:
        async with application.client(application.settings.admin_token) as admin:
            for _ in range(3):
                assert (await admin.get("/v1/ledgers")).status_code == 200
        async with application.client(token) as client:
            for _ in range(4):
                assert (await client.get("/v1/ledgers/main/accounts")).status_code == 200
            assert (await client.get("/v1/events")).status_code == 403
        async with application.client(unused + "x") as unknown:
            assert (await unknown.get("/v1/ledgers")).status_code == 401
    [day] = await counted(database, token_id)
    assert day.requests == 5
    assert await counted(database, unused_id) == []
    async with database.sessions() as session:
        assert (await Repositories(session).token_uses.last()).keys() == {token_id}


async def test_nobody_waits_for_the_counts(test_database: TestDatabase, superuser: asyncpg.Connection) -> None:
    """Requests are answered, and the service stops, while the counts cannot be written."""
    token, token_id = await make_token(test_database)
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE funds.token_uses")
        async with serving(test_database) as application, application.client(token) as client:
            for _ in range(3):
                assert (await client.get("/v1/ledgers")).status_code == 200
        assert await superuser.fetch("SELECT FROM funds.token_uses WHERE token_id = $1", token_id) == []
