"""The sealer: what it looks at, what it leaves to others, and what it says of itself."""

import logging
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.exc import IntegrityError

from service.audit import ledger_log
from service.audit.log_keys import LogKeys
from service.audit.log_signer import LogSigner
from service.proofs.keys import SignerKey
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions
from service.workers.sealer import Sealer
from tests.storage.paging import queries
from tests.support.database_faults import superuser
from tests.support.ledger_at_work import fill_ledger
from tests.support.log import ORIGIN
from tests.support.rows import add_created_ledger, add_ledger
from tests.support.servers import TestDatabase

SETTINGS = Settings()
SIGNER = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)

_ADD = """
    WITH head AS (
        UPDATE funds.ledger_heads SET last_at = last_at + interval '1 microsecond' WHERE ledger_id = $1
    )
    INSERT INTO funds.history (ledger_id, id, type, data, created_at)
    SELECT $1, lpad(to_hex(coalesce(max(('x' || right(id::text, 12))::bit(48)::bigint), 0) + number), 32, '0')::uuid,
           'key.fenced', '{}', 'epoch'
    FROM generate_series(1, $2) AS number
    LEFT JOIN funds.history ON ledger_id = $1
    GROUP BY number
"""


@pytest.fixture
async def pool(test_database: TestDatabase) -> AsyncIterator[Database]:
    pool = Database.connect_few(test_database.service_url, SETTINGS, 1)
    yield pool
    await pool.close()


@pytest.fixture
async def connection(test_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with superuser(test_database) as connection:
        yield connection


def sealer_on(pool: Database) -> Sealer:
    return Sealer(Transactions(pool, SETTINGS.read_limits), SIGNER.sign_for)


async def turns(sealer: Sealer) -> int:
    """Seal everything; return how many turns that took."""
    count = 1
    while await sealer.work():
        count += 1
    return count


def sealed_at(sealer: Sealer) -> float | None:
    """When the last turn began that left nothing to seal, on the monotonic clock."""
    lag = sealer.lag_seconds
    return None if lag is None else time.monotonic() - lag


async def add(connection: asyncpg.Connection, ledger_id: int, count: int = 1) -> None:
    await connection.execute(_ADD, ledger_id, count)


async def sizes(connection: asyncpg.Connection, ledger_id: int) -> list[int]:
    rows = await connection.fetch(
        "SELECT size FROM funds.log_checkpoints WHERE ledger_id = $1 ORDER BY size", ledger_id
    )
    return [row["size"] for row in rows]


async def test_an_idle_ledger_makes_no_checkpoint(pool: Database, connection: asyncpg.Connection) -> None:
    sealer = sealer_on(pool)
    ledger_id = await add_ledger(connection, "idle")
    await turns(sealer)
    assert await sizes(connection, ledger_id) == [], "it has no entry"
    await add(connection, ledger_id, 3)
    await turns(sealer)
    assert await sizes(connection, ledger_id) == [3]
    assert await turns(sealer) == 1
    assert await turns(sealer_on(pool)) == 1, "another process has nothing to do"
    assert await sizes(connection, ledger_id) == [3]


async def test_what_comes_while_it_seals_is_for_the_next_turn(
    pool: Database, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One checkpoint a turn: a busy ledger has one a second, and not one after the other."""
    monkeypatch.setattr(ledger_log, "ENTRIES_AT_ONCE", 1_000)
    sealer = sealer_on(pool)
    ledger_id = await add_ledger(connection, "busy")
    await add(connection, ledger_id, 3)
    assert not await sealer.work(), "all that was there is sealed"
    assert sealed_at(sealer) is not None
    await add(connection, ledger_id)
    assert not await sealer.work()
    assert await sizes(connection, ledger_id) == [3, 4]
    await add(connection, ledger_id, 3_000)
    assert await turns(sealer) == 3
    assert (await sizes(connection, ledger_id))[-1] == 3_004


async def test_the_lag_is_that_of_the_last_turn_that_sealed_everything(
    pool: Database, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_log, "ENTRIES_AT_ONCE", 1_000)
    sealer = sealer_on(pool)
    ledger_id = await add_ledger(connection, "large")
    await add(connection, ledger_id, 1_500)
    assert await sealer.work(), "there is more"
    assert sealed_at(sealer) is None
    assert not await sealer.work()
    first = sealed_at(sealer)
    assert first is not None
    await add(connection, ledger_id, 1_500)
    assert await sealer.work()
    assert sealed_at(sealer) == pytest.approx(first)
    assert not await sealer.work()
    assert (sealed_at(sealer) or 0) > first


async def test_a_ledger_that_another_sealer_left_unsealed_is_looked_at_again(
    test_database: TestDatabase, pool: Database, connection: asyncpg.Connection
) -> None:
    """The other one held the ledger's lock, and died: nobody moves the ledger's head, and it is sealed all the same."""
    sealer = sealer_on(pool)
    ledger_id = await add_ledger(connection, "left")
    await add(connection, ledger_id)
    other = Database.connect_few(test_database.service_url, SETTINGS, 1)
    async with other.sessions() as session, session.begin():
        assert await Repositories(session).log.try_lock(ledger_id)
        assert not await sealer.work()
        assert sealed_at(sealer) is None, "it does not know how far the other one is"
        await session.rollback()
    await other.close()
    assert await sizes(connection, ledger_id) == []
    assert not await sealer.work()
    assert await sizes(connection, ledger_id) == [1]
    assert sealed_at(sealer) is not None


async def test_a_damaged_ledger_is_told_and_keeps_no_other_from_its_log(
    pool: Database, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    sealer = sealer_on(pool)
    damaged, sound = [await add_ledger(connection, name) for name in ("damaged", "sound")]
    for ledger_id in (damaged, sound):
        await add(connection, ledger_id, 3)
    await turns(sealer)
    await connection.execute("UPDATE funds.history SET client_id = 'other' WHERE ledger_id = $1", damaged)
    for ledger_id in (damaged, sound):
        await add(connection, ledger_id)
    before = sealed_at(sealer)
    await turns(sealer)
    assert await sizes(connection, damaged) == [3]
    assert await sizes(connection, sound) == [3, 4]
    assert sealed_at(sealer) == pytest.approx(before), "not everything is sealed"
    [line] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert (line.getMessage(), line.__dict__["ledger"]) == ("a ledger is damaged", "damaged")
    assert sealer.damaged_count == 1
    await connection.execute("UPDATE funds.history SET client_id = NULL WHERE ledger_id = $1", damaged)
    await turns(sealer)
    assert await sizes(connection, damaged) == [3, 4], "what was mended is sealed on"
    assert sealer.damaged_count == 0


async def test_a_ledger_that_was_taken_away_is_told_of_once(
    pool: Database, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Its head alone says that it was there: whether or not that moves, it is neither sealed nor left in silence."""
    sealer = sealer_on(pool)
    gone, there = [await add_ledger(connection, name) for name in ("gone", "there")]
    for ledger_id in (gone, there):
        await add(connection, ledger_id)
    await turns(sealer)
    await connection.execute("DELETE FROM funds.ledgers WHERE id = $1", gone)
    await turns(sealer)
    for ledger_id in (gone, there):
        await add(connection, ledger_id)
    await turns(sealer)
    assert await sizes(connection, gone) == [1]
    assert await sizes(connection, there) == [1, 2]
    [line] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert (line.getMessage(), line.__dict__["ledger"]) == ("a ledger is damaged", str(gone))
    assert sealer.damaged_count == 1
    await connection.execute("INSERT INTO funds.ledgers (id, name, created_at) VALUES ($1, 'gone', now())", gone)
    await turns(sealer)
    assert await sizes(connection, gone) == [1, 2], "what was put back is sealed on"
    assert sealer.damaged_count == 0


async def test_a_turn_costs_what_the_ledgers_cost_that_moved(pool: Database, connection: asyncpg.Connection) -> None:
    """Of idle ledgers the heads are read, all in one statement."""
    ledgers = [await add_ledger(connection, f"ledger-{number}") for number in range(100)]
    sealer = sealer_on(pool)
    await turns(sealer)
    with queries(pool) as of_idle:
        await turns(sealer)
    assert len(of_idle) == 1
    for ledger_id in ledgers[:5]:
        await add(connection, ledger_id)
    with queries(pool) as of_five:
        await turns(sealer)
    assert len(of_five) <= 2 + 5 * 8
    assert [await sizes(connection, ledger_id) for ledger_id in ledgers[:6]] == [[1]] * 5 + [[]]


async def test_the_first_turn_looks_at_no_ledger_that_is_sealed(test_database: TestDatabase) -> None:
    """Of those that are, however many, the ends are read in one statement."""
    await fill_ledger(test_database)
    async with superuser(test_database) as connection:
        for number in range(50):
            await add_created_ledger(connection, f"ledger-{number}")
        await connection.execute(
            "UPDATE funds.ledger_heads AS head SET last_at = ("
            " SELECT max(created_at) FROM funds.history AS entry WHERE entry.ledger_id = head.ledger_id"
            ") WHERE ledger_id <> 1"
        )
    pool = Database.connect_few(test_database.service_url, SETTINGS, 1)
    await turns(sealer_on(pool))
    with queries(pool) as of_another:
        await turns(sealer_on(pool))
    await pool.close()
    assert len(of_another) == 2


async def test_one_that_cannot_be_sealed_keeps_no_other_from_its_log(
    test_database: TestDatabase, connection: asyncpg.Connection
) -> None:
    """Its checkpoints cannot be stored; those of the ledgers around it are, in the same turn."""
    await connection.execute(
        "ALTER TABLE funds.log_checkpoints ADD CONSTRAINT test_stuck CHECK (ledger_id NOT IN (3, 4)) NOT VALID"
    )
    ledgers = [await add_ledger(connection, f"ledger-{number}") for number in range(5)]
    stuck = [one for one in ledgers if one in {3, 4}]
    assert len(stuck) == 2
    for ledger_id in ledgers:
        await add(connection, ledger_id)
    pool = Database.connect_few(test_database.service_url, SETTINGS, 1)
    sealer = sealer_on(pool)
    with pytest.raises(IntegrityError, match="test_stuck"):
        await sealer.work()
    await pool.close()
    for ledger_id in ledgers:
        assert await sizes(connection, ledger_id) == ([] if ledger_id in stuck else [1])


async def test_an_entry_behind_the_head_is_never_sealed(
    pool: Database, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has the service's role can put it there: all that comes would stand before it, and contradict the log."""
    sealer = sealer_on(pool)
    ledger_id = await add_ledger(connection, "ahead")
    await add(connection, ledger_id, 3)
    await turns(sealer)
    await connection.execute(
        "INSERT INTO funds.history (ledger_id, id, type, data, created_at)"
        " VALUES ($1, 'ffffffff-ffff-7fff-8000-000000000000', 'key.fenced', '{}', 'epoch')",
        ledger_id,
    )
    moved = "UPDATE funds.ledger_heads SET last_at = clock_timestamp() WHERE ledger_id = $1"
    await connection.execute(moved, ledger_id)
    await turns(sealer)
    assert await sizes(connection, ledger_id) == [3]
    [line] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "ffffffff-ffff-7fff-8000-000000000000 lies behind the head" in line.__dict__["reason"]
    await connection.execute("DELETE FROM funds.history WHERE id = 'ffffffff-ffff-7fff-8000-000000000000'")
    await add(connection, ledger_id)
    await turns(sealer)
    assert await sizes(connection, ledger_id) == [3, 4]


async def test_a_tile_that_was_never_full_is_damage(
    pool: Database, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the service's role can put a tile where the log will have one."""
    monkeypatch.setattr(ledger_log, "TILE", 4)
    await connection.execute("ALTER TABLE funds.log_tiles DROP CONSTRAINT ck_log_tiles_leaves")
    sealer = sealer_on(pool)
    ledger_id = await add_ledger(connection, "forged")
    await connection.execute(
        "INSERT INTO funds.log_tiles (ledger_id, level, index, root) VALUES ($1, 1, 0, sha256('x'))", ledger_id
    )
    await add(connection, ledger_id, 20)
    await turns(sealer)
    assert await sizes(connection, ledger_id) == []
    [line] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert line.__dict__["ledger"] == "forged"


async def test_it_goes_on_from_a_known_key_alone(
    pool: Database, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has the database may put a checkpoint there; without a key it is no beginning of a log."""
    mine, theirs = (LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN) for _ in range(2))

    def sealer(signer: LogSigner, *known: LogSigner) -> Sealer:
        keys = LogKeys([one.verifier_key("") for one in known])
        return Sealer(Transactions(pool, SETTINGS.read_limits), signer.sign_for, keys)

    ledger_id = await add_ledger(connection, "rotated")
    await add(connection, ledger_id)
    await turns(sealer(theirs, theirs))
    await add(connection, ledger_id)
    await turns(sealer(mine, mine))
    assert await sizes(connection, ledger_id) == [1]
    lines = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert {one.getMessage() for one in lines} == {"a ledger is damaged"}
    assert any("no key signed it that the settings name" in one.__dict__["reason"] for one in lines)
    await turns(sealer(mine, mine, theirs))
    assert await sizes(connection, ledger_id) == [1, 2]
