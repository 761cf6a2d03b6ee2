"""The head of a ledger: every writer locks it first, stands behind it, and moves it to the last place that it used."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.domain.accounts import AccountRevision
from service.domain.commands import FenceKey
from service.domain.decisions import Answer, Key
from service.domain.ledgers import NO_LEDGER
from service.domain.operations import Operation
from service.domain.rejections import ClockBehind
from service.posting.openings import Opening
from service.settings import Settings
from service.storage.database import Database
from tests.posting.obstacles import one_transfer_a_statement, wait_for_blocked
from tests.support.commands import CLIENT, new_account, transfer, words
from tests.support.committing import commit_batch, create_account, create_ledger, open_accounts, revise_account
from tests.support.invariants import assert_ledger_is_sound
from tests.support.rows import MAIN, add_accounts, set_head_ahead

INSTANT = timedelta(microseconds=1)


def key_of(operation: Operation, key: str = "key", ledger_id: int = MAIN) -> Key:
    return Key(ledger_id=ledger_id, client_id=CLIENT, idempotency_key=key, fingerprint=b"", operation=operation)


async def last_at(superuser: asyncpg.Connection, ledger_id: int = MAIN) -> datetime:
    found: datetime = await superuser.fetchval("SELECT last_at FROM funds.ledger_heads WHERE ledger_id = $1", ledger_id)
    return found


def flat(answers: Any) -> list[Answer[Any]]:
    """Return the answers of a writer, which come alone, in a list, or in a list for each group."""
    return [one for some in answers for one in flat(some)] if isinstance(answers, list) else [answers]


class Writers:
    """Every way to write to a ledger, each once; all but the last to ledger ``main``."""

    def __init__(self, database: Database, settings: Settings, accounts: tuple[UUID, UUID]) -> None:
        self._database = database
        self._settings = settings
        self._accounts = accounts

    async def batch(self) -> Any:
        return await commit_batch(self._database, self._settings, MAIN, [[transfer(*self._accounts)]])

    async def fence(self) -> Any:
        fence = FenceKey(ledger_id=MAIN, client_id=CLIENT, idempotency_key="fenced")
        return await commit_batch(self._database, self._settings, MAIN, [[fence]])

    async def rejection(self) -> Any:
        same = self._accounts[0]
        return await commit_batch(self._database, self._settings, MAIN, [[transfer(same, same)]])

    async def opening(self) -> Any:
        return await create_account(self._database, self._settings, key_of("create_account"), new_account())

    async def rejected_opening(self) -> Any:
        new = new_account(currency="XXX")
        return await create_account(self._database, self._settings, key_of("create_account"), new)

    async def openings(self) -> Any:
        page = [Opening(key_of("create_account", f"{number}"), new_account()) for number in range(3)]
        return await open_accounts(self._database, self._settings, page)

    async def revision(self, key: Key | None = None) -> Any:
        revision = AccountRevision(name="new")
        return await revise_account(
            self._database, self._settings, MAIN, self._accounts[0], revision, expected_tags=None, key=key
        )

    async def revision_with_key(self) -> Any:
        return await self.revision(key_of("revise_account"))

    async def ledger(self) -> Any:
        key = key_of("create_ledger", ledger_id=NO_LEDGER)
        return await create_ledger(self._database, self._settings, key, name="new", description=None)


WRITERS = [name for name in vars(Writers) if not name.startswith("_")]
Write = Callable[[], Awaitable[Any]]


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def write(writer: str, batch_database: Database, settings: Settings, accounts: tuple[UUID, UUID]) -> Write:
    write: Write = getattr(Writers(batch_database, settings, accounts), writer)
    return write


@pytest.fixture
def written(writer: str) -> int:
    """The ledger that is written to."""
    return NO_LEDGER if writer == "ledger" else MAIN


@asynccontextmanager
async def _head_of_another(url: str, ledger_id: int) -> AsyncIterator[asyncpg.Connection]:
    """Lock the ledger's head in a transaction of another connection, which is closed in the end."""
    other = await asyncpg.connect(url)
    try:
        await other.execute("BEGIN")
        await other.execute("SELECT FROM funds.ledger_heads WHERE ledger_id = $1 FOR NO KEY UPDATE", ledger_id)
        yield other
    finally:
        await other.close()


async def test_a_writer_waits_for_the_head_before_anything_else(
    write: Write, written: int, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    async with _head_of_another(superuser_url, written) as other:
        task = asyncio.ensure_future(write())
        await wait_for_blocked(superuser, by=other.get_server_pid())
        tables = await superuser.fetch(
            "SELECT DISTINCT relname FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
            " WHERE relkind = 'r' AND relnamespace = 'funds'::regnamespace"
            " AND $1::integer = ANY(pg_blocking_pids(pid))",
            other.get_server_pid(),
        )
        assert [row["relname"] for row in tables] == ["ledger_heads"]
        assert not task.done()
    await task


@pytest.mark.parametrize("ended", ["ROLLBACK", "COMMIT"])
async def test_the_clock_is_read_once_the_head_is_locked(
    write: Write, written: int, superuser: asyncpg.Connection, superuser_url: str, ended: str
) -> None:
    async with _head_of_another(superuser_url, written) as other:
        task = asyncio.ensure_future(write())
        await wait_for_blocked(superuser, by=other.get_server_pid())
        free_at = await superuser.fetchval("SELECT clock_timestamp()")
        await other.execute(ended)
        await task
    assert await last_at(superuser, written) > free_at


async def test_a_writer_stands_just_behind_the_head_and_moves_it_there(
    write: Write, written: int, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    ahead = await set_head_ahead(superuser, 2, written)
    await write()
    assert await last_at(superuser, written) == ahead + INSTANT
    for table, column in (("decisions", "created_at"), ("transfers", "created_at")):
        times = await superuser.fetch(f"SELECT {column} AS at FROM funds.{table} WHERE ledger_id = $1", written)
        assert {row["at"] for row in times} <= {ahead + INSTANT}
    await assert_ledger_is_sound(superuser_url)


async def test_a_writer_is_rejected_for_now_where_the_head_is_too_far_ahead(
    write: Write, written: int, superuser: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    ahead = await set_head_ahead(superuser, 60, written)
    with caplog.at_level(logging.ERROR):
        answers = await write()
    assert {type(answer.result) for answer in flat(answers)} == {ClockBehind}
    assert await last_at(superuser, written) == ahead
    assert await superuser.fetchval("SELECT count(*) FROM funds.decisions") == 0
    assert [record.__dict__["ledger_id"] for record in caplog.records] == [written]

    await set_head_ahead(superuser, -1, written)
    await write()
    assert await last_at(superuser, written) < ahead


async def test_what_replays_does_not_move_the_head(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    debit, credit = await add_accounts(superuser, 2)
    wish = transfer(debit, credit)
    await commit_batch(batch_database, settings, MAIN, [[wish]])
    await create_account(batch_database, settings, key_of("create_account"), new_account())
    before = await last_at(superuser)
    await commit_batch(batch_database, settings, MAIN, [[wish]])
    await create_account(batch_database, settings, key_of("create_account"), new_account())
    assert await last_at(superuser) == before


async def test_groups_that_are_written_one_by_one_have_a_place_each(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    debit, credit = await add_accounts(superuser, 2)
    async with one_transfer_a_statement(superuser_url):
        ahead = await set_head_ahead(superuser, 2)
        answers = await commit_batch(
            batch_database,
            settings,
            MAIN,
            [[transfer(debit, credit)], [transfer(credit, debit)], [transfer(debit, debit)]],
        )
    assert words(answers) == ["applied", "applied", "same_account"]
    rows = await superuser.fetch("SELECT created_at FROM funds.decisions ORDER BY created_at")
    assert [row["created_at"] for row in rows] == [ahead + number * INSTANT for number in (1, 2, 3)]
    assert await last_at(superuser) == ahead + 3 * INSTANT
    await assert_ledger_is_sound(superuser_url)


async def test_a_new_ledger_has_a_head_where_it_was_created(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    key = key_of("create_ledger", ledger_id=NO_LEDGER)
    await create_ledger(batch_database, settings, key, name="new", description=None)
    row = await superuser.fetchrow(
        "SELECT created_at, last_at FROM funds.ledgers JOIN funds.ledger_heads ON id = ledger_id WHERE name = 'new'"
    )
    assert row is not None
    assert row["created_at"] == row["last_at"] == await last_at(superuser, NO_LEDGER)
