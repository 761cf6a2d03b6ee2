"""Batches of several chunks: the first is written while the next is decided, and the result is the same."""

import logging

import asyncpg
import pytest

from service.domain.executor import Group
from service.posting import batch
from service.posting.batch import CHUNK
from service.settings import Settings
from service.storage import constraints
from service.storage.database import Database
from tests.support.commands import opening, posted, transfer, words
from tests.support.committing import commit_batch
from tests.support.invariants import assert_ledger_is_sound
from tests.support.patience import PATIENT
from tests.support.rows import MAIN, add_account, add_accounts, add_transfer

SIZE = 3 * CHUNK + 7
SMALL_CHUNK = 50


@pytest.fixture
def settings(database_url: str) -> Settings:
    """How large a batch may be that ends in time is another question."""
    return Settings(database_url=database_url, **PATIENT)


async def test_each_command_sees_those_of_the_chunks_before(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The last chunk can spend exactly the money that the first one brought in."""
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    groups = [[transfer(source, a)] for _ in range(CHUNK)] + [[transfer(a, b)] for _ in range(SIZE - CHUNK)]

    answers = await commit_batch(batch_database, settings, MAIN, groups)

    assert words(answers) == ["applied"] * 2 * CHUNK + ["insufficient_funds"] * (SIZE - 2 * CHUNK)
    rising = [one.id for one in posted(answers)]
    assert rising == sorted(rising)
    assert words(await commit_batch(batch_database, settings, MAIN, groups)) == [
        f"replayed {word}" for word in words(answers)
    ]
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_a_group_may_span_chunks_and_be_rejected_at_its_end(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    source, sink = await add_accounts(superuser, 2)
    poor = await add_account(superuser, minimum_balance=0)
    group = [transfer(source, sink) for _ in range(SIZE)]
    groups: list[Group] = [[transfer(source, sink)], [*group, transfer(poor, sink)], [transfer(sink, source)]]

    answers = await commit_batch(batch_database, settings, MAIN, groups)

    assert words(answers) == ["applied", *["batch_rejected"] * SIZE, "insufficient_funds", "applied"]
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 2
    await assert_ledger_is_sound(superuser_url)


async def test_holds_and_transfers_of_every_chunk_are_written(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    groups: list[Group] = [[transfer(a, b)] if number % 2 else [opening(a, b)] for number in range(SIZE)]

    await commit_batch(batch_database, settings, MAIN, groups)

    for table, count in (("holds", SIZE - SIZE // 2), ("transfers", SIZE // 2), ("decisions", SIZE)):
        assert await superuser.fetchval(f"SELECT count(*) FROM funds.{table}") == count
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("size", [2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 10 * CHUNK])
@pytest.mark.parametrize("before", [0, 1, CHUNK - 1, CHUNK])
async def test_a_group_of_any_size_is_written_whole(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    size: int,
    before: int,
) -> None:
    """A group is never written in part, wherever in it a chunk ends, and its last part is not lost."""
    a, b = await add_accounts(superuser, 2)
    groups: list[Group] = [*[[transfer(a, b)] for _ in range(before)], [transfer(a, b) for _ in range(size)]]

    answers = await commit_batch(batch_database, settings, MAIN, groups)

    assert words(answers) == ["applied"] * (before + size)
    for table in ("transfers", "decisions"):
        assert await superuser.fetchval(f"SELECT count(*) FROM funds.{table}") == before + size
    await assert_ledger_is_sound(superuser_url)
    assert words(await commit_batch(batch_database, settings, MAIN, groups)) == ["replayed applied"] * (before + size)


FEW = 3 * SMALL_CHUNK + 7


@pytest.mark.parametrize("place", [0, SMALL_CHUNK, FEW - 1])
async def test_a_write_that_the_database_refuses_in_any_chunk_fails_no_other_command(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    place: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal may come while other chunks are still being decided, or after all of them. Each group is then written
    by itself, a dozen statements for each: chunks are smaller here.
    """
    monkeypatch.setattr(batch, "CHUNK", SMALL_CHUNK)
    a, b, bad, outside = await add_accounts(superuser, 4)
    blocking = await add_transfer(superuser, bad, outside)
    groups = [[transfer(a, b)] for _ in range(FEW)]
    groups[place] = [transfer(bad, b)]

    with caplog.at_level(logging.WARNING, "service.posting.batch"):
        answers = await commit_batch(batch_database, settings, MAIN, groups)

    expected = ["applied"] * FEW
    expected[place] = "internal_error"
    assert words(answers) == expected
    assert {vars(record)["reason"] for record in caplog.records} == {constraints.UQ_TRANSFERS_DEBIT_VERSION}
    await superuser.execute("DELETE FROM funds.transfers WHERE id = $1", blocking)
    await assert_ledger_is_sound(superuser_url)
