"""Revisions of accounts: against the state the caller knows, and never around the transfers in flight."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs

from service.domain.accounts import AccountDetails, AccountRevision, revision_tag
from service.domain.rejections import Rejection
from service.engine.administration import Applied, revise_account
from service.engine.settle import settle
from service.settings import Settings
from service.storage.accounts import AccountRepository, details
from service.storage.database import Database
from service.storage.errors import Failure, StorageError
from service.storage.models import Account
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.outsider import Outsider, holding_account
from tests.engine.commands import transfer, words
from tests.engine.obstacles import end_waiting_sessions, uncommitted_decision, wait_for_tries
from tests.faults.proxy import Fault, commit_proxy
from tests.rows import MAIN, add_account, add_accounts


async def revise(
    database: Database, settings: Settings, account_id: UUID, *tags: str, **changes: Any
) -> Account | Rejection:
    """Revise an account that is in a state of ``tags``; without tags, in any."""
    revision = AccountRevision(**changes)
    answer = await revise_account(
        database, settings, MAIN, account_id, revision, expected_tags=frozenset(tags) if tags else None
    )
    assert not answer.replayed
    return answer.row if isinstance(answer, Applied) else answer.rejection


def word(answer: Account | Rejection) -> str:
    return answer.code if isinstance(answer, Rejection) else "revised"


async def read(database: Database, account_id: UUID) -> AccountDetails:
    async with database.sessions() as session:
        [account] = await AccountRepository(session).by_ids(MAIN, [account_id])
        return account


async def test_what_is_answered_is_what_is_stored(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    account_id = await add_account(superuser, name="old", minimum_balance=-1, metadata='{"a": "b"}')
    changes = {"name": None, "metadata": {"c": "d"}, "minimum_balance": -9, "maximum_balance": 9, "status": "frozen"}

    answer = await revise(database, settings, account_id, **changes)

    assert isinstance(answer, Account)
    stored = await read(database, account_id)
    for name, value in changes.items():
        assert getattr(details(answer), name) == getattr(stored, name) == value
    assert answer.updated_at == stored.updated_at
    assert (stored.version, stored.currency) == (0, "USD")


async def test_what_is_not_named_stays(database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
    account_id = await add_account(superuser, name="old", minimum_balance=-1, metadata='{"a": "b"}')
    await revise(database, settings, account_id, maximum_balance=9)

    stored = await read(database, account_id)
    assert (stored.name, stored.minimum_balance, stored.maximum_balance, stored.metadata) == ("old", -1, 9, {"a": "b"})


async def test_a_revision_of_another_state_is_a_mismatch(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    account_id = await add_account(superuser, name="first")
    first = revision_tag(await read(database, account_id))
    second = await revise(database, settings, account_id, first, name="second")
    assert isinstance(second, Account)

    assert word(await revise(database, settings, account_id, first, name="third")) == "version_mismatch"
    assert (
        word(await revise(database, settings, account_id, first, revision_tag(details(second)), name="third"))
        == "revised"
    )
    assert (await read(database, account_id)).name == "third"


async def test_transfers_do_not_change_the_state_that_a_revision_names(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """A busy account can be revised."""
    a, b = await add_accounts(superuser, 2)
    tag = revision_tag(await read(database, a))
    assert words(await settle(database, settings, MAIN, [[transfer(a, b)]])) == ["applied"]

    assert word(await revise(database, settings, a, tag, name="new")) == "revised"


async def test_an_account_that_does_not_exist(database: Database, settings: Settings) -> None:
    assert word(await revise(database, settings, uuid4(), "any", name="new")) == "account_not_found"


async def test_a_refused_revision_changes_nothing(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """The mismatch comes before the rules, the rules before any change."""
    account_id = await add_account(superuser, name="old")
    assert word(await revise(database, settings, account_id, "other", minimum_balance=1)) == "version_mismatch"
    assert word(await revise(database, settings, account_id, name="new", minimum_balance=1)) == "insufficient_funds"

    stored = await read(database, account_id)
    assert (stored.name, stored.minimum_balance) == ("old", None)


async def test_the_time_of_change_rises_although_the_clock_was_set_back(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    account_id = await add_account(superuser)
    await superuser.execute("UPDATE funds.accounts SET updated_at = clock_timestamp() + interval '2 seconds'")
    ahead = (await read(database, account_id)).updated_at

    for name in ("new", "newer"):
        answer = await revise(database, settings, account_id, name=name)
        assert isinstance(answer, Account)
        assert answer.updated_at > ahead
        ahead = answer.updated_at


async def test_of_revisions_of_one_state_one_wins(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    account_id = await add_account(superuser)
    tag = revision_tag(await read(database, account_id))

    answers = await asyncio.gather(
        *(revise(database, settings, account_id, tag, name=str(number)) for number in range(8))
    )

    assert sorted(map(word, answers)) == ["revised"] + ["version_mismatch"] * 7
    [winner] = [answer for answer in answers if isinstance(answer, Account)]
    assert (await read(database, account_id)).name == winner.name


async def test_a_revision_sees_the_batch_it_waited_for(
    database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """A batch has spent the balance but not committed yet: a floor above what will be left is refused."""
    source, target = await add_accounts(superuser, 2)
    a = await add_account(superuser, minimum_balance=0)
    assert words(await settle(database, settings, MAIN, [[transfer(source, a, 10)]])) == ["applied"]
    spending = transfer(a, target, 8)
    async with uncommitted_decision(superuser_url, spending.idempotency_key) as rival:
        batch = asyncio.create_task(settle(database, settings, MAIN, [[spending]]))
        await Outsider(rival).wait_for_waiters(1)
        floor = asyncio.create_task(revise(database, settings, a, minimum_balance=5))
        await Outsider(rival).wait_for_waiters(2)
        await rival.execute("ROLLBACK")

    assert words(await batch) == ["applied"]
    answer = await floor
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.members["available_balance"]) == ("insufficient_funds", 2)


async def test_a_batch_sees_the_revisions_it_waited_for(
    database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """In the order in which they came to the account: floor, batch, freezing."""
    source, target = await add_accounts(superuser, 2)
    a = await add_account(superuser, minimum_balance=0)
    assert words(await settle(database, settings, MAIN, [[transfer(source, a, 10)]])) == ["applied"]
    async with holding_account(superuser_url, str(a)) as outsider:
        floor = asyncio.create_task(revise(database, settings, a, minimum_balance=5))
        await outsider.wait_for_waiters(1)
        units = [[transfer(a, target, 6)], [transfer(a, target, 5)]]
        batch = asyncio.create_task(settle(database, settings, MAIN, units))
        await outsider.wait_for_waiters(2)
        freezing = asyncio.create_task(revise(database, settings, a, status="frozen"))
        await outsider.wait_for_waiters(3)

    assert word(await floor) == word(await freezing) == "revised"
    assert words(await batch) == ["insufficient_funds", "applied"]
    assert words(await settle(database, settings, MAIN, [[transfer(source, a)]])) == ["account_frozen"]
    await assert_ledger_is_sound(superuser_url)


async def test_a_revision_whose_connection_ends_before_commit_is_run_again(
    database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    account_id = await add_account(superuser)
    async with holding_account(superuser_url, str(account_id)) as outsider:
        task = asyncio.create_task(revise(database, settings, account_id, name="new"))
        await outsider.wait_for_waiters(1)
        await end_waiting_sessions(superuser)
    assert word(await task) == "revised"


async def test_a_lock_that_is_not_granted(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """It is tried again, and when it stays it is contention, with nothing done."""
    account_id = await add_account(superuser, name="old")
    impatient = structs.replace(settings, lock_timeout_ms=30, commit_attempts_max=100)
    database = Database.connect(database_url, impatient)
    async with holding_account(superuser_url, str(account_id)):
        task = asyncio.create_task(revise(database, impatient, account_id, name="new"))
        await wait_for_tries(superuser, 2)
        with pytest.raises(StorageError) as caught:
            await revise(database, structs.replace(impatient, commit_attempts_max=2), account_id, name="newer")
    assert (caught.value.failure, caught.value.outcome_unknown) == (Failure.CONTENTION, False)
    assert word(await task) == "revised"
    assert (await read(database, account_id)).name == "new"
    await database.close()


@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.ANSWER_LOST])
async def test_a_revision_whose_commit_is_cut_is_not_tried_again(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, fault: Fault
) -> None:
    """Nothing but the tag could tell the next try what became of this one, and the tag no longer matches."""
    account_id = await add_account(superuser, name="old")
    async with commit_proxy(database_url) as proxy:
        database = Database.connect(proxy.url, settings)
        tag = revision_tag(await read(database, account_id))
        proxy.break_commits(fault, every_commit=True)
        with pytest.raises(StorageError) as caught:
            await revise(database, settings, account_id, tag, name="new")
        stored = await read(database, account_id)
        await database.close()

    assert (caught.value.failure, caught.value.outcome_unknown) == (Failure.UNAVAILABLE, True)
    assert stored.name == ("new" if fault is Fault.ANSWER_LOST else "old")
