"""Where ledgers lie on nodes (Citus) and one of these is away, its ledgers wait, and no others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from service.audit.watcher import HeadWatcher
from service.domain.integrity import Finding, Pass, Verification
from service.domain.ledgers import NO_LEDGER
from service.errors import Failure, StorageError
from service.posting.damage import DamagedLedgers
from service.settings import Settings
from service.storage import nodes as module
from service.storage.database import Database
from service.storage.nodes import EVERY_LEDGER, AllLedgers, Part
from service.storage.repositories import Repositories, of_ledgers
from service.storage.transactions import Mode, Reader, Transactions
from service.telemetry import metrics
from service.workers.verifier import IntegrityWatch
from tests.api.moves import freed, open_hold
from tests.storage.paging import queries
from tests.support.database_faults import superuser
from tests.support.http_ledger import LedgerClient, answer, problem
from tests.support.invariants import assert_ledger_is_sound
from tests.support.log import sealed, serving_log
from tests.support.nodes import Nodes
from tests.support.other_session import wait_until
from tests.support.rows import MAIN, add_created_ledger
from tests.support.servers import TestDatabase

AWAY = StorageError(Failure.UNAVAILABLE)


class Divided(NamedTuple):
    """A database whose ledgers lie on two nodes: the installation, main and ``here`` on one, ``there`` on the other."""

    database: TestDatabase
    nodes: Nodes
    here: int
    there: int


@pytest.fixture
async def divided(test_database: TestDatabase) -> AsyncIterator[Divided]:
    async with superuser(test_database) as connection:
        here, there = [await add_created_ledger(connection, name) for name in ("here", "there")]
        nodes = Nodes(connection)
        await nodes.divide({"one": [NO_LEDGER, MAIN, here], "two": [there]})
        yield Divided(test_database, nodes, here, there)


@asynccontextmanager
async def attending(database: TestDatabase) -> AsyncIterator[tuple[AllLedgers, Database]]:
    pool = Database.connect_few(database.service_url, Settings(), 1)
    yield AllLedgers("log-sealer", Transactions(pool, Settings().read_limits).run), pool
    await pool.close()


async def test_all_ledgers_are_one_piece_of_work(divided: Divided) -> None:
    """While every node answers; nothing is asked for that."""
    parts: list[Part] = []

    async def work(part: Part) -> int:
        parts.append(part)
        return len(parts)

    async with attending(divided.database) as (ledgers, pool):
        with queries(pool) as asked:
            assert [await ledgers.attend(work) for _ in range(2)] == [[1], [2]]
    assert (parts, asked) == ([EVERY_LEDGER] * 2, [])


async def test_a_node_that_is_away_is_left_alone_for_a_while(
    divided: Divided, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts: list[Part] = []
    away = {divided.there}

    async def work(part: Part) -> Part:
        parts.append(part)
        if away and (part.ledger_ids is None or away.intersection(part.ledger_ids)):
            raise AWAY
        return part

    one = Part("one:5432", [NO_LEDGER, MAIN, divided.here])
    two = Part("two:5432", [divided.there])
    async with attending(divided.database) as (ledgers, _):
        assert await ledgers.attend(work) == [one]
        assert parts == [EVERY_LEDGER, one, two]
        assert ledgers.waiting == {divided.there}
        assert [line.__dict__["node"] for line in caplog.records if line.msg == "a node is away"] == ["two:5432"]
        assert _away() == {"log-sealer"}
        parts.clear()
        assert await ledgers.attend(work) == [one]
        assert parts == [one], "not all together, and not the other one"
        monkeypatch.setattr(module, "REST_SECONDS", 0)
        away.add(divided.here)
        ledgers._again_at = 0
        assert await ledgers.attend(work) == []
        assert ledgers.waiting == {NO_LEDGER, MAIN, divided.here, divided.there}
        away.clear()
        assert await ledgers.attend(work) == [one, two]
        assert ledgers.waiting == frozenset()
        parts.clear()
        await ledgers.attend(work)
        assert parts == [EVERY_LEDGER], "and all together again"
        assert _away() == set()


async def test_a_fault_of_ours_is_no_nodes(divided: Divided) -> None:
    async def work(part: Part) -> None:
        raise AWAY if part is EVERY_LEDGER else StorageError(Failure.CONTENTION)

    async def wrong(_: Part) -> None:
        raise ZeroDivisionError

    async with attending(divided.database) as (ledgers, _):
        with pytest.raises(ZeroDivisionError):
            await ledgers.attend(wrong)
        with pytest.raises(StorageError, match="contention"):
            await ledgers.attend(work)


async def test_an_ordinary_database_has_no_parts(test_database: TestDatabase) -> None:
    parts: list[Part] = []

    async def work(part: Part) -> None:
        parts.append(part)
        raise AWAY

    async with attending(test_database) as (ledgers, pool):
        with queries(pool) as asked, pytest.raises(StorageError):
            await ledgers.attend(work)
    assert (parts, asked) == ([EVERY_LEDGER], [])


async def test_many_ledgers_are_named_some_at_a_time(divided: Divided, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_ledgers, "_LEDGERS_AT_ONCE", 2)
    every = [NO_LEDGER, MAIN, divided.here, divided.there]
    pool = Database.connect_few(divided.database.service_url, Settings(), 1)
    with queries(pool) as asked:
        unsealed = await Transactions(pool, Settings().read_limits).run(
            lambda session: Repositories(session).log.unsealed(every)
        )
    assert [one.id for one in unsealed] == every
    assert [parameters[0] for _, parameters in asked] == [every[:2], every[2:]]
    await pool.close()


async def test_those_who_wait_for_another_nodes_ledger_are_woken(
    divided: Divided, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0)
    pool = Database.connect_few(divided.database.service_url, Settings(), 1)
    watcher = HeadWatcher(Reader(Transactions(pool, Settings().read_limits, Mode.SINGLE_STATEMENT)))
    before = datetime(2000, 1, 1, tzinfo=UTC)
    here, there = [
        asyncio.create_task(watcher.wait_for_change(ledger_id, before, 60))
        for ledger_id in (divided.here, divided.there)
    ]
    await asyncio.sleep(0)
    async with divided.nodes.away(divided.there):
        await watcher.look()
        assert await here > before
        await watcher.look()
        assert not there.done()
    await watcher.look()
    assert await there > before
    await pool.close()


async def test_damage_on_a_node_that_is_away_is_damage_still(divided: Divided, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may write to a ledger that is stopped in the moment when its node is back."""
    monkeypatch.setattr(module, "REST_SECONDS", 0)
    pool = Database.connect_few(divided.database.service_url, Settings(), 1)
    transactions = Transactions(pool, Settings().read_limits)
    damaged = DamagedLedgers(stop=True)
    watch = IntegrityWatch(transactions, damaged)
    ended = Pass(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    wrong = replace(ended, findings=[Finding("rule", "table", "id", "wrong")])

    async def keep(ledger_id: int, found: Pass) -> None:
        await transactions.run(lambda session: Repositories(session).verifications.keep(ledger_id, Verification(found)))

    await keep(divided.here, ended)
    await keep(divided.there, wrong)
    await watch.look()
    assert (damaged.ids, watch.freshness and watch.freshness.unverified) == ({divided.there}, 2)
    async with divided.nodes.away(divided.there):
        await keep(divided.here, wrong)
        await watch.look()
        assert (damaged.ids, watch.freshness and watch.freshness.unverified) == ({divided.here, divided.there}, 2)
    await keep(divided.there, ended)
    await watch.look()
    assert damaged.ids == {divided.here}
    await pool.close()


async def test_the_loss_of_a_node_stops_its_ledgers_alone(divided: Divided, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service as it runs: what frees holds, seals and verifies."""
    monkeypatch.setattr(module, "REST_SECONDS", 0.2)
    settings = {"verify_interval_seconds": 0.05, "verify_share": 1, "stop_on_damage": True}
    async with (
        serving_log(divided.database, **settings) as application,
        application.client(application.settings.admin_token) as client,
    ):
        here, there = [LedgerClient(client, name) for name in ("here", "there")]
        accounts = {one: (await one.account(), await one.account()) for one in (here, there)}
        holds = {one: await open_hold(one, *accounts[one], 5, expires_in_seconds=5) for one in (here, there)}
        async with divided.nodes.away(divided.there):
            problem(await there.post(*accounts[there]), 503, "database_unavailable")
            began = datetime.now(UTC)
            assert (await freed(here, holds[here]))["status"] == "expired"
            moved = await here.move(*accounts[here])
            assert (await sealed(here, f"/transfers/{moved['id']}/receipt")).status_code == 200
            await wait_until(lambda: _has_been_verified(here, since=began))
            await wait_until(lambda: _away() == {"hold-sweeper", "log-sealer"})
        assert (await freed(there, holds[there]))["status"] == "expired"
        moved = await there.move(*accounts[there])
        assert (await sealed(there, f"/transfers/{moved['id']}/receipt")).status_code == 200
        await wait_until(lambda: _away() == set())
    await assert_ledger_is_sound(divided.database.superuser_url)


def _away() -> set[str]:
    """Which workers miss a node."""
    return {one.labels[0] for one in metrics.nodes_away.series() if one.value}


async def _has_been_verified(ledger: LedgerClient, *, since: datetime) -> bool:
    """Whether the last pass of the ledger that ended did since then."""
    complete = answer(await ledger.client.get(f"{ledger.path}/integrity"))["complete"]
    return complete is not None and datetime.fromisoformat(complete["ended_at"]) > since
