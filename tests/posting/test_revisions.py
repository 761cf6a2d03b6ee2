"""Revisions of accounts: they apply to the state that the caller knows, and wait for transfers under way."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from msgspec import structs

from service.domain.accounts import AccountDetails, AccountRevision, revision_tag
from service.domain.rejections import Rejection
from service.domain.rules import REVISION_RULES
from service.errors import Failure, StorageError
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories.accounts import AccountRepository
from tests.posting.obstacles import end_waiting_sessions, uncommitted_decision, wait_for_tries
from tests.support.commands import transfer, words
from tests.support.commit_proxy import Fault, commit_proxy
from tests.support.committing import commit_batch, revise_account
from tests.support.invariants import assert_ledger_is_sound
from tests.support.other_session import OtherSession, holding_account
from tests.support.rejections import told
from tests.support.rows import MAIN, add_account, add_accounts, set_head_ahead


async def revise(
    database: Database, settings: Settings, account_id: UUID, *tags: str, **changes: Any
) -> AccountDetails | Rejection:
    """Revise an account if its state has one of ``tags``; without tags, whatever its state."""
    revision = AccountRevision(**changes)
    answer = await revise_account(
        database, settings, MAIN, account_id, revision, expected_tags=frozenset(tags) if tags else None
    )
    assert not answer.replayed
    return answer.result


def word(answer: AccountDetails | Rejection) -> str:
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

    assert isinstance(answer, AccountDetails)
    stored = await read(database, account_id)
    for name, value in changes.items():
        assert getattr(answer, name) == getattr(stored, name) == value
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
    assert isinstance(second, AccountDetails)

    assert word(await revise(database, settings, account_id, first, name="third")) == "version_mismatch"
    assert word(await revise(database, settings, account_id, first, revision_tag(second), name="third")) == "revised"
    assert (await read(database, account_id)).name == "third"


async def test_transfers_do_not_change_the_state_that_a_revision_names(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """A busy account can be revised."""
    a, b = await add_accounts(superuser, 2)
    tag = revision_tag(await read(database, a))
    assert words(await commit_batch(database, settings, MAIN, [[transfer(a, b)]])) == ["applied"]

    assert word(await revise(database, settings, a, tag, name="new")) == "revised"


async def test_an_account_that_does_not_exist(database: Database, settings: Settings) -> None:
    assert word(await revise(database, settings, uuid4(), "any", name="new")) == "account_not_found"


async def test_a_rejected_revision_changes_nothing(
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
    ahead = await set_head_ahead(superuser, 2)

    for name in ("new", "newer"):
        answer = await revise(database, settings, account_id, name=name)
        assert isinstance(answer, AccountDetails)
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
    [winner] = [answer for answer in answers if isinstance(answer, AccountDetails)]
    assert (await read(database, account_id)).name == winner.name


async def test_a_revision_sees_the_batch_it_waited_for(
    database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """A batch has spent the balance but not committed yet: a minimum above what will be left is rejected."""
    source, target = await add_accounts(superuser, 2)
    a = await add_account(superuser, minimum_balance=0)
    assert words(await commit_batch(database, settings, MAIN, [[transfer(source, a, 10)]])) == ["applied"]
    spending = transfer(a, target, 8)
    async with uncommitted_decision(superuser_url, spending.idempotency_key) as writer:
        batch = asyncio.create_task(commit_batch(database, settings, MAIN, [[spending]]))
        await OtherSession(writer).wait_for_waiters(1)
        floor = asyncio.create_task(revise(database, settings, a, minimum_balance=5))
        await OtherSession(writer).wait_for_waiters(2)
        await writer.execute("ROLLBACK")

    assert words(await batch) == ["applied"]
    answer = await floor
    assert isinstance(answer, Rejection)
    assert (answer.code, told(answer)["available_balance"]) == ("insufficient_funds", 2)


async def test_a_batch_sees_the_revisions_it_waited_for(
    database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """All apply in the order in which they locked the account: the new minimum, the batch, the freezing."""
    source, target = await add_accounts(superuser, 2)
    a = await add_account(superuser, minimum_balance=0)
    assert words(await commit_batch(database, settings, MAIN, [[transfer(source, a, 10)]])) == ["applied"]
    async with holding_account(superuser_url, str(a)) as other_session:
        floor = asyncio.create_task(revise(database, settings, a, minimum_balance=5))
        await other_session.wait_for_waiters(1)
        groups = [[transfer(a, target, 6)], [transfer(a, target, 5)]]
        batch = asyncio.create_task(commit_batch(database, settings, MAIN, groups))
        await other_session.wait_for_waiters(2)
        freezing = asyncio.create_task(revise(database, settings, a, status="frozen"))
        await other_session.wait_for_waiters(3)

    assert word(await floor) == word(await freezing) == "revised"
    assert words(await batch) == ["insufficient_funds", "applied"]
    assert words(await commit_batch(database, settings, MAIN, [[transfer(source, a)]])) == ["account_frozen"]
    await assert_ledger_is_sound(superuser_url)


async def test_a_revision_whose_connection_ends_before_commit_is_run_again(
    database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    account_id = await add_account(superuser)
    async with holding_account(superuser_url, str(account_id)) as other_session:
        task = asyncio.create_task(revise(database, settings, account_id, name="new"))
        await other_session.wait_for_waiters(1)
        await end_waiting_sessions(superuser)
    assert word(await task) == "revised"


async def test_a_lock_that_is_not_granted(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    """The revision has another attempt. When the lock stays, it fails with contention, and nothing was done."""
    account_id = await add_account(superuser, name="old")
    impatient = structs.replace(settings, lock_timeout_ms=30, commit_attempts_max=100)
    database = Database.connect(database_url, impatient)
    async with holding_account(superuser_url, str(account_id)):
        task = asyncio.create_task(revise(database, impatient, account_id, name="new"))
        await wait_for_tries(superuser, 2)
        with pytest.raises(StorageError) as caught:
            await revise(database, structs.replace(impatient, commit_attempts_max=2), account_id, name="newer")
    assert (caught.value.failure, caught.value.in_doubt) == (Failure.CONTENTION, False)
    assert word(await task) == "revised"
    assert (await read(database, account_id)).name == "new"
    await database.close()


@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.ANSWER_LOST])
async def test_a_revision_whose_commit_is_cut_has_no_other_attempt(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, fault: Fault
) -> None:
    """Only the tag could tell the next attempt whether this one was done, and the tag no longer matches."""
    account_id = await add_account(superuser, name="old")
    async with commit_proxy(database_url) as proxy:
        database = Database.connect(proxy.url, settings)
        tag = revision_tag(await read(database, account_id))
        proxy.break_commits(fault, every_commit=True)
        with pytest.raises(StorageError) as caught:
            await revise(database, settings, account_id, tag, name="new")
        stored = await read(database, account_id)
        await database.close()

    assert (caught.value.failure, caught.value.in_doubt) == (Failure.UNAVAILABLE, True)
    assert stored.name == ("new" if fault is Fault.ANSWER_LOST else "old")


async def test_the_checks_before_the_rules_of_a_change_come_in_order(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """One revision breaks every check, and the test repairs what each answer names, one after the other."""
    account_id = await add_account(superuser, status="closed")
    await set_head_ahead(superuser, 3_600)
    answers = [await revise(database, settings, uuid4(), "stale", name="n")]
    await set_head_ahead(superuser, -1)
    answers.append(await revise(database, settings, uuid4(), "stale", name="n"))
    answers.append(await revise(database, settings, account_id, "stale", name="n"))
    answers.append(await revise(database, settings, account_id, name="n"))

    assert [word(answer) for answer in answers] == ["clock_behind", *(rule.code for rule in REVISION_RULES[:3])]
