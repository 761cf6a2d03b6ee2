"""Committing a batch: one transaction, one answer to each command, remembered for ever."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from msgspec import structs

from service.domain.commands import AnyCommand
from service.errors import BatchFailedError
from service.settings import Settings
from service.storage.database import Database
from tests.posting.obstacles import accounts_of_another_schema
from tests.support.commands import fence, posted, transfer, words
from tests.support.committing import commit_batch, dry_run
from tests.support.invariants import assert_ledger_is_sound
from tests.support.other_session import holding_account
from tests.support.rows import MAIN, add_account, add_accounts, add_ledger, set_head_ahead


async def count(superuser: asyncpg.Connection, table: str) -> int:
    return int(await superuser.fetchval(f"SELECT count(*) FROM funds.{table}"))


async def test_what_is_answered_is_what_is_stored(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The transfers go from account to account, which start empty and may not overdraw: each depends on the last."""
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    groups = [
        [transfer(source, a, 5, reference="salary", description="May", metadata={"run": "5"})],
        [transfer(a, b, 5)],
        [transfer(b, source, 2)],
    ]

    answers = await commit_batch(batch_database, settings, MAIN, groups)

    assert words(answers) == ["applied"] * 3
    rows = await superuser.fetch("SELECT * FROM funds.transfers ORDER BY id")
    for row, answered in zip(rows, posted(answers), strict=True):
        stored = dict(row) | {"metadata": {"run": "5"} if row["metadata"] != "{}" else {}}
        assert stored == structs.asdict(answered)
    lines = [(one.debit_balance_after, one.credit_balance_after) for one in posted(answers)]
    assert lines == [(-5, 5), (0, 5), (3, -3)]
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_a_batch_is_one_transaction(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    accounts = await add_accounts(superuser, 4)
    groups = [[transfer(accounts[number % 4], accounts[(number + 1) % 4])] for number in range(100)]

    answers = await commit_batch(batch_database, settings, MAIN, groups)

    assert words(answers) == ["applied"] * 100
    assert await superuser.fetchval("SELECT count(DISTINCT xmin::text) FROM funds.transfers") == 1
    assert len({one.created_at for one in posted(answers)}) == 1


async def test_a_batch_sent_again_replays_every_answer(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """Rejections are outcomes like others: committed, and the same answer for ever."""
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    source = await add_account(superuser)
    frozen = await add_account(superuser, status="frozen")
    groups = [[transfer(a, b, 10)], [transfer(source, a, 10)], [transfer(source, frozen)], [transfer(b, uuid4())]]
    expected = ["insufficient_funds", "applied", "account_frozen", "account_not_found"]

    first = await commit_batch(batch_database, settings, MAIN, groups)
    second = await commit_batch(batch_database, settings, MAIN, groups)

    assert words(first) == expected
    assert words(second) == [f"replayed {word}" for word in expected]
    assert [one.result for [one] in second] == [one.result for [one] in first]
    assert (await count(superuser, "transfers"), await count(superuser, "decisions")) == (1, 4)
    await assert_ledger_is_sound(superuser_url)


async def test_a_batch_of_replays_writes_nothing(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    a, b = await add_accounts(superuser, 2)
    groups = [[transfer(a, b)]]
    await commit_batch(batch_database, settings, MAIN, groups)
    rows = "SELECT xmin::text, ctid, version FROM funds.accounts ORDER BY id"
    before = await superuser.fetch(rows)

    assert words(await commit_batch(batch_database, settings, MAIN, groups)) == ["replayed applied"]

    assert await superuser.fetch(rows) == before


async def test_the_same_key_twice_in_a_batch_is_applied_once(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    a, b = await add_accounts(superuser, 2)
    command = transfer(a, b, 7, key="twice")
    other = transfer(a, b, 8, key="twice")

    answers = await commit_batch(batch_database, settings, MAIN, [[command], [command], [other]])

    assert words(answers) == ["applied", "replayed applied", "idempotency_key_reused"]
    assert (await count(superuser, "transfers"), await count(superuser, "decisions")) == (1, 1)


async def test_a_group_applies_as_a_whole(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)

    answers = await commit_batch(batch_database, settings, MAIN, [[transfer(source, a, 3), transfer(a, b, 3)]])

    assert words(answers) == ["applied", "applied"]
    first, second = posted(answers)
    assert first.group_id == second.group_id is not None
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_a_rejected_group_does_not_apply_at_all(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The last command of a group is rejected: the others change no counter, and later groups do not see them."""
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    group = [transfer(source, a, 3), transfer(a, b, 3), transfer(b, source, 4)]
    groups = [[transfer(source, a, 1)], group, [transfer(a, b, 2)], [transfer(a, b, 1)]]
    rejected = ["batch_rejected", "batch_rejected", "insufficient_funds"]

    first = await commit_batch(batch_database, settings, MAIN, groups)
    second = await commit_batch(batch_database, settings, MAIN, [group])

    assert words(first) == ["applied", *rejected, "insufficient_funds", "applied"]
    assert words(second) == [f"replayed {code}" for code in rejected]
    assert (await count(superuser, "transfers"), await count(superuser, "decisions")) == (2, 6)
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


async def test_times_and_identifiers_rise_after_the_clock_was_set_back(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The ledger was changed in what the clock now calls the future."""
    a, b = await add_accounts(superuser, 2)
    ahead = await set_head_ahead(superuser, 2)

    answers = [await commit_batch(batch_database, settings, MAIN, [[transfer(a, b)]]) for _ in range(2)]

    first, second = (posted(answer)[0] for answer in answers)
    assert ahead < first.created_at < second.created_at
    assert first.id < second.id
    await assert_ledger_is_sound(superuser_url)


async def test_what_the_locks_waited_for_is_seen(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """While the batch waits for an account, another session spends the balance: the batch decides on what is left."""
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    source = await add_account(superuser)
    await commit_batch(batch_database, settings, MAIN, [[transfer(source, a, 10)]])
    spent, late = transfer(a, b, 10), transfer(a, b, 1)
    async with holding_account(superuser_url, str(a)) as other_session:
        tasks = [asyncio.create_task(commit_batch(batch_database, settings, MAIN, [[one]])) for one in (spent, spent)]
        await other_session.wait_for_waiters(2)

    answers = [words(await task) for task in tasks]

    assert sorted(answers) == [["applied"], ["replayed applied"]]
    assert words(await commit_batch(batch_database, settings, MAIN, [[late]])) == ["insufficient_funds"]
    await assert_ledger_is_sound(superuser_url, bounds_were_constant=True)


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_fence_and_its_transfer_have_one_winner(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, *, reverse: bool
) -> None:
    """The two share no account whose lock would serialize them: the unique key of the decisions does."""
    a, b = await add_accounts(superuser, 2)
    for number in range(10):
        key = f"key-{number}"
        pair: list[AnyCommand] = [transfer(a, b, key=key), fence(key)]
        racers = [commit_batch(batch_database, settings, MAIN, [[one]]) for one in (pair[::-1] if reverse else pair)]
        answers = [words(one) for one in await asyncio.gather(*racers)]
        moved, fenced = answers[::-1] if reverse else answers
        assert (moved, fenced) in [(["applied"], ["replayed fenced"]), (["key_fenced"], ["fenced"])]
        transfers = await superuser.fetchval(
            "SELECT count(*) FROM funds.transfers JOIN funds.decisions ON resource_id = transfers.id"
            " WHERE decisions.idempotency_key = $1",
            key,
        )
        assert transfers == (moved == ["applied"])


async def test_ledgers_do_not_see_each_other(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """The same key in two ledgers is two keys, and another ledger's account does not exist."""
    other = await add_ledger(superuser, "other")
    a, b = await add_accounts(superuser, 2)
    c, d = await add_accounts(superuser, 2, ledger_id=other)

    here = await commit_batch(batch_database, settings, MAIN, [[transfer(a, b, key="k")], [transfer(a, c)]])
    there = await commit_batch(batch_database, settings, other, [[transfer(c, d, key="k", ledger_id=other)]])

    assert words(here) == ["applied", "account_not_found"]
    assert words(there) == ["applied"]


async def test_a_fault_of_ours_is_no_storage_error(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """A failure that another attempt cannot avoid has no other attempt, and says that nothing was committed."""
    a, b = await add_accounts(superuser, 2)
    async with accounts_of_another_schema(superuser):
        with pytest.raises(BatchFailedError) as caught:
            await commit_batch(batch_database, settings, MAIN, [[transfer(a, b)]])

    assert not caught.value.in_doubt
    assert isinstance(caught.value.__cause__, Exception)


async def test_a_dry_run_answers_like_a_commit_and_stores_nothing(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    source = await add_account(superuser)
    a, b = await add_accounts(superuser, 2, minimum_balance=0)
    done = transfer(source, a, 5)
    await commit_batch(batch_database, settings, MAIN, [[done]])
    groups = [[done], [transfer(a, b, 3)], [transfer(a, b, 3)], [transfer(source, b), transfer(a, b, 3)]]

    foretold = await dry_run(batch_database, settings, MAIN, groups)

    assert (await count(superuser, "transfers"), await count(superuser, "decisions")) == (1, 1)
    assert words(foretold) == words(await commit_batch(batch_database, settings, MAIN, groups))


async def test_a_dry_run_waits_for_no_lock(
    batch_database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    a, b = await add_accounts(superuser, 2)
    async with holding_account(superuser_url, str(a)):
        answers = await dry_run(batch_database, settings, MAIN, [[transfer(a, b)]])

    assert words(answers) == ["applied"]
