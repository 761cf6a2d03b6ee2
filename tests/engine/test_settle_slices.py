"""Batches larger than a slice: the first is written while the others are decided, and nobody can tell."""

import logging
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.domain.commands import OpenHold
from service.engine.queue import Unit
from service.engine.settle import settle
from service.settings import Settings
from service.storage import constraints
from service.storage.batches import SLICE
from service.storage.database import Database
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.engine.commands import CLIENT, posted, transfer, words
from tests.rows import MAIN, add_account, add_accounts, add_transfer

SIZE = 3 * SLICE + 7


async def test_each_command_sees_those_of_the_slices_before(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """Money comes in by the first slice and goes out by the last, and not a cent more."""
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    units = [[transfer(source, a)] for _ in range(SLICE)] + [[transfer(a, b)] for _ in range(SIZE - SLICE)]

    answers = await settle(engine_database, settings, MAIN, units)

    assert words(answers) == ["applied"] * 2 * SLICE + ["insufficient_funds"] * (SIZE - 2 * SLICE)
    rising = [one.id for one in posted(answers)]
    assert rising == sorted(rising)
    assert words(await settle(engine_database, settings, MAIN, units)) == [
        f"replayed {word}" for word in words(answers)
    ]
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_a_unit_may_span_slices_and_be_refused_at_its_end(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    source, sink = await add_accounts(superuser, 2)
    poor = await add_account(superuser, minimum_balance=0)
    unit = [transfer(source, sink) for _ in range(SIZE)]
    units: list[Unit] = [[transfer(source, sink)], [*unit, transfer(poor, sink)], [transfer(sink, source)]]

    answers = await settle(engine_database, settings, MAIN, units)

    assert words(answers) == ["applied", *["batch_rejected"] * SIZE, "insufficient_funds", "applied"]
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == 2
    await assert_ledger_is_sound(superuser_url)


async def test_holds_and_transfers_of_every_slice_are_written(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    units: list[Unit] = [[transfer(a, b)] if number % 2 else [_hold(a, b)] for number in range(SIZE)]

    await settle(engine_database, settings, MAIN, units)

    for table, count in (("holds", SIZE - SIZE // 2), ("transfers", SIZE // 2), ("decisions", SIZE)):
        assert await superuser.fetchval(f"SELECT count(*) FROM funds.{table}") == count
    await assert_ledger_is_sound(superuser_url)


@pytest.mark.parametrize("size", [2, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE, 2 * SLICE + 1, 10 * SLICE])
@pytest.mark.parametrize("before", [0, 1, SLICE - 1, SLICE])
async def test_a_unit_of_any_size_is_written_whole(
    engine_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    size: int,
    before: int,
) -> None:
    """Whatever of it is decided when a slice ends: half a unit is never written, and its end is not forgotten."""
    a, b = await add_accounts(superuser, 2)
    units: list[Unit] = [*[[transfer(a, b)] for _ in range(before)], [transfer(a, b) for _ in range(size)]]

    answers = await settle(engine_database, settings, MAIN, units)

    assert words(answers) == ["applied"] * (before + size)
    for table in ("transfers", "decisions"):
        assert await superuser.fetchval(f"SELECT count(*) FROM funds.{table}") == before + size
    await assert_ledger_is_sound(superuser_url)
    assert words(await settle(engine_database, settings, MAIN, units)) == ["replayed applied"] * (before + size)


def _hold(debit: UUID, credit: UUID) -> OpenHold:
    terms = {"debit_account_id": debit, "credit_account_id": credit, "amount": 1, "currency": "USD"}
    return OpenHold.of(MAIN, CLIENT, str(uuid4()), **terms)


@pytest.mark.parametrize("place", [0, SLICE, SIZE - 1])
async def test_a_write_refused_in_any_slice_takes_nobody_down(
    engine_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    place: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether the refusal comes while others are still being decided or after all of them."""
    a, b, bad, outside = await add_accounts(superuser, 4)
    blocking = await add_transfer(superuser, bad, outside)
    units = [[transfer(a, b)] for _ in range(SIZE)]
    units[place] = [transfer(bad, b)]

    with caplog.at_level(logging.WARNING, "service.engine.settle"):
        answers = await settle(engine_database, settings, MAIN, units)

    expected = ["applied"] * SIZE
    expected[place] = "internal_error"
    assert words(answers) == expected
    assert {vars(record)["reason"] for record in caplog.records} == {constraints.UQ_TRANSFERS_DEBIT_VERSION}
    await superuser.execute("DELETE FROM funds.transfers WHERE id = $1", blocking)
    await assert_ledger_is_sound(superuser_url)
