"""Settling a batch: one transaction, one answer to each command, remembered for ever."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from msgspec import structs

from service.domain.commands import AnyCommand
from service.engine.settle import SettlementError, rehearse, settle
from service.settings import Settings
from service.storage.database import Database
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.outsider import holding_account
from tests.engine.commands import fence, posted, transfer, words
from tests.engine.obstacles import accounts_of_another_schema
from tests.rows import MAIN, add_account, add_accounts, add_ledger


async def count(superuser: asyncpg.Connection, table: str) -> int:
    return int(await superuser.fetchval(f"SELECT count(*) FROM funds.{table}"))


async def test_what_is_answered_is_what_is_stored(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The chain goes through accounts that start empty and may not overdraw: each sees the ones before it."""
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    units = [
        [transfer(source, a, 5, reference="salary", description="May", metadata={"run": "5"})],
        [transfer(a, b, 5)],
        [transfer(b, source, 2)],
    ]

    answers = await settle(engine_database, settings, MAIN, units)

    assert words(answers) == ["applied"] * 3
    rows = await superuser.fetch("SELECT * FROM funds.transfers ORDER BY id")
    for row, answered in zip(rows, posted(answers), strict=True):
        stored = dict(row) | {"metadata": {"run": "5"} if row["metadata"] != "{}" else {}}
        assert stored == structs.asdict(answered)
    lines = [(one.debit_balance_after, one.credit_balance_after) for one in posted(answers)]
    assert lines == [(-5, 5), (0, 5), (3, -3)]
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_a_batch_is_one_transaction(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    accounts = await add_accounts(superuser, 4)
    units = [[transfer(accounts[number % 4], accounts[(number + 1) % 4])] for number in range(100)]

    answers = await settle(engine_database, settings, MAIN, units)

    assert words(answers) == ["applied"] * 100
    assert await superuser.fetchval("SELECT count(DISTINCT xmin::text) FROM funds.transfers") == 1
    assert len({one.created_at for one in posted(answers)}) == 1


async def test_a_batch_sent_again_replays_every_answer(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """Rejections are outcomes like others: committed, and the same answer for ever."""
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    source = await add_account(superuser)
    frozen = await add_account(superuser, status="frozen")
    units = [[transfer(a, b, 10)], [transfer(source, a, 10)], [transfer(source, frozen)], [transfer(b, uuid4())]]
    expected = ["insufficient_funds", "applied", "account_frozen", "account_not_found"]

    first = await settle(engine_database, settings, MAIN, units)
    second = await settle(engine_database, settings, MAIN, units)

    assert words(first) == expected
    assert words(second) == [f"replayed {word}" for word in expected]
    assert [one.outcome for [one] in second] == [one.outcome for [one] in first]
    assert (await count(superuser, "transfers"), await count(superuser, "decisions")) == (1, 4)
    await assert_ledger_is_sound(superuser_url)


async def test_a_batch_of_replays_writes_nothing(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    a, b = await add_accounts(superuser, 2)
    units = [[transfer(a, b)]]
    await settle(engine_database, settings, MAIN, units)
    rows = "SELECT xmin::text, ctid, version FROM funds.accounts ORDER BY id"
    before = await superuser.fetch(rows)

    assert words(await settle(engine_database, settings, MAIN, units)) == ["replayed applied"]

    assert await superuser.fetch(rows) == before


async def test_the_same_key_twice_in_a_batch_is_applied_once(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    a, b = await add_accounts(superuser, 2)
    command = transfer(a, b, 7, key="twice")
    other = transfer(a, b, 8, key="twice")

    answers = await settle(engine_database, settings, MAIN, [[command], [command], [other]])

    assert words(answers) == ["applied", "replayed applied", "idempotency_key_reused"]
    assert (await count(superuser, "transfers"), await count(superuser, "decisions")) == (1, 1)


async def test_a_unit_applies_together(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)

    answers = await settle(engine_database, settings, MAIN, [[transfer(source, a, 3), transfer(a, b, 3)]])

    assert words(answers) == ["applied", "applied"]
    first, second = posted(answers)
    assert first.group_id == second.group_id is not None
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_a_unit_applies_not_at_all(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The last of a unit is refused: the others leave no trace, neither in counters nor for what comes after them."""
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    unit = [transfer(source, a, 3), transfer(a, b, 3), transfer(b, source, 4)]
    units = [[transfer(source, a, 1)], unit, [transfer(a, b, 2)], [transfer(a, b, 1)]]
    refused = ["batch_rejected", "batch_rejected", "insufficient_funds"]

    first = await settle(engine_database, settings, MAIN, units)
    second = await settle(engine_database, settings, MAIN, [unit])

    assert words(first) == ["applied", *refused, "insufficient_funds", "applied"]
    assert words(second) == [f"replayed {code}" for code in refused]
    assert (await count(superuser, "transfers"), await count(superuser, "decisions")) == (2, 6)
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_times_and_identifiers_rise_although_the_clock_was_set_back(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """An account was changed in what the clock now calls the future."""
    a, b = await add_accounts(superuser, 2)
    await superuser.execute(
        "UPDATE funds.accounts SET updated_at = clock_timestamp() + interval '2 seconds' WHERE id = $1", a
    )
    ahead = await superuser.fetchval("SELECT updated_at FROM funds.accounts WHERE id = $1", a)

    answers = [await settle(engine_database, settings, MAIN, [[transfer(a, b)]]) for _ in range(2)]

    first, second = (posted(answer)[0] for answer in answers)
    assert ahead < first.created_at < second.created_at
    assert first.id < second.id
    await assert_ledger_is_sound(superuser_url)


async def test_what_the_locks_waited_for_is_seen(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """While the batch waits for an account, its owner spends the balance: the batch decides on what is left."""
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    source = await add_account(superuser)
    await settle(engine_database, settings, MAIN, [[transfer(source, a, 10)]])
    spent, late = transfer(a, b, 10), transfer(a, b, 1)
    async with holding_account(superuser_url, str(a)) as outsider:
        tasks = [asyncio.create_task(settle(engine_database, settings, MAIN, [[one]])) for one in (spent, spent)]
        await outsider.wait_for_waiters(2)

    answers = [words(await task) for task in tasks]

    assert sorted(answers) == [["applied"], ["replayed applied"]]
    assert words(await settle(engine_database, settings, MAIN, [[late]])) == ["insufficient_funds"]
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_fence_and_its_transfer_have_one_winner(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, *, reverse: bool
) -> None:
    """They share no account whose lock would keep them apart: the registry's own key does."""
    a, b = await add_accounts(superuser, 2)
    for number in range(10):
        key = f"key-{number}"
        pair: list[AnyCommand] = [transfer(a, b, key=key), fence(key)]
        racers = [settle(engine_database, settings, MAIN, [[one]]) for one in (pair[::-1] if reverse else pair)]
        answers = [words(one) for one in await asyncio.gather(*racers)]
        moved, fenced = answers[::-1] if reverse else answers
        assert (moved, fenced) in [(["applied"], ["replayed fenced"]), (["key_fenced"], ["fenced"])]
        transfers = await superuser.fetchval(
            "SELECT count(*) FROM funds.transfers JOIN funds.decisions ON resource_id = transfers.id"
            " WHERE idempotency_key = $1",
            key,
        )
        assert transfers == (moved == ["applied"])


async def test_ledgers_do_not_see_each_other(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """The same key in two ledgers is two keys, and another ledger's account does not exist."""
    other = await add_ledger(superuser, "other")
    a, b = await add_accounts(superuser, 2)
    c, d = await add_accounts(superuser, 2, ledger_id=other)

    here = await settle(engine_database, settings, MAIN, [[transfer(a, b, key="k")], [transfer(a, c)]])
    there = await settle(engine_database, settings, other, [[transfer(c, d, key="k", ledger_id=other)]])

    assert words(here) == ["applied", "account_not_found"]
    assert words(there) == ["applied"]


async def test_a_fault_of_ours_is_no_storage_error(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """What no further try can heal is not tried again, and says that nothing was committed."""
    a, b = await add_accounts(superuser, 2)
    async with accounts_of_another_schema(superuser):
        with pytest.raises(SettlementError) as caught:
            await settle(engine_database, settings, MAIN, [[transfer(a, b)]])

    assert not caught.value.outcome_unknown
    assert isinstance(caught.value.__cause__, Exception)


async def test_a_rehearsal_answers_like_the_deed_and_does_nothing(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    done = transfer(source, a, 5)
    await settle(engine_database, settings, MAIN, [[done]])
    units = [[done], [transfer(a, b, 3)], [transfer(a, b, 3)], [transfer(source, b), transfer(a, b, 3)]]

    rehearsed = await rehearse(engine_database, settings, MAIN, units)

    assert (await count(superuser, "transfers"), await count(superuser, "decisions")) == (1, 1)
    assert words(rehearsed) == words(await settle(engine_database, settings, MAIN, units))


async def test_a_rehearsal_waits_for_nobody(
    engine_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    async with holding_account(superuser_url, str(a)):
        answers = await rehearse(engine_database, settings, MAIN, [[transfer(a, b)]])

    assert words(answers) == ["applied"]
