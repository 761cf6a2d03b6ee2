"""Ledgers and accounts are made once under their keys, also by concurrent requests."""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec import structs

from service.domain.accounts import AccountDetails, AccountRevision
from service.domain.decisions import Answer, Key
from service.domain.ledgers import NO_LEDGER, Ledger, StoredLedger
from service.domain.rejections import Rejection
from service.domain.rules import OPENING_RULES
from service.errors import Failure, StorageError
from service.settings import Settings
from service.storage.database import Database
from tests.posting.obstacles import end_waiting_sessions, uncommitted_decision
from tests.support.commands import fence, new_account, transfer, words
from tests.support.commit_proxy import Fault, commit_proxy
from tests.support.committing import commit_batch, create_account, create_ledger, revise_account
from tests.support.other_session import OtherSession
from tests.support.rows import MAIN, add_account

CUTS = [Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.ANSWER_RACED, Fault.CUT_AFTER]


def key_of(idempotency_key: str = "key", request: str = "request", ledger_id: int = MAIN) -> Key:
    return Key(
        ledger_id=ledger_id,
        client_id="client",
        idempotency_key=idempotency_key,
        fingerprint=request.encode(),
        operation="create_ledger" if ledger_id == NO_LEDGER else "create_account",
    )


def word(answer: Answer[Any]) -> str:
    """Return the answer as ``created`` or the code of its rejection; ``replayed`` comes before it."""
    name = answer.result.code if isinstance(answer.result, Rejection) else "created"
    return f"replayed {name}" if answer.replayed else name


def account_of(answer: Answer[AccountDetails | Rejection]) -> AccountDetails:
    assert isinstance(answer.result, AccountDetails)
    return answer.result


async def outcomes(superuser: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await superuser.fetch("SELECT idempotency_key, outcome FROM funds.decisions ORDER BY idempotency_key")
    return [(row["idempotency_key"], row["outcome"]) for row in rows]


async def test_an_account_is_made_once(database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
    new = new_account(reference="salary", name="Salary", minimum_balance=0, maximum_balance=9, metadata={"a": "b"})
    first, second = [await create_account(database, settings, key_of(), new) for _ in range(2)]

    assert [word(first), word(second)] == ["created", "replayed created"]
    assert account_of(first) == account_of(second)
    stored = await superuser.fetchrow("SELECT id, reference, minimum_balance, status, version FROM funds.accounts")
    assert stored is not None
    assert tuple(stored) == (account_of(first).id, "salary", 0, "open", 0)
    assert await outcomes(superuser) == [("key", "applied")]


async def test_a_replay_shows_the_account_as_it_was_made(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """The account has been revised and has moved money since: the answer under the key is still the first one."""
    made = account_of(await create_account(database, settings, key_of(), new_account(name="old", metadata={"a": "b"})))
    before = structs.replace(made)
    revision = AccountRevision(name="new", metadata={}, minimum_balance=-5)
    revised = await revise_account(database, settings, MAIN, made.id, revision, expected_tags=None)
    assert isinstance(revised.result, AccountDetails)
    moved = [[transfer(made.id, await add_account(superuser))]]
    assert words(await commit_batch(database, settings, MAIN, moved)) == ["applied"]

    again = await create_account(database, settings, key_of(), new_account(name="old", metadata={"a": "b"}))

    assert word(again) == "replayed created"
    assert account_of(again) == before


REJECTED: list[tuple[dict[str, Any], str]] = [
    ({"currency": "XXX", "minimum_balance": 1, "reference": "taken"}, "currency_unknown"),
    ({"minimum_balance": 2, "maximum_balance": 1, "reference": "taken"}, "balance_limit_exceeded"),
    ({"minimum_balance": 1, "maximum_balance": -1, "reference": "taken"}, "balance_limit_exceeded"),
    ({"minimum_balance": 1, "reference": "taken"}, "insufficient_funds"),
    ({"maximum_balance": -1, "reference": "taken"}, "balance_limit_exceeded"),
    ({"reference": "taken"}, "reference_taken"),
]
"""Terms and the code of the rule that rejects them, in the order of the rules. Each breaks all later rules, too."""


def test_every_rule_of_openings_is_broken_in_its_order() -> None:
    assert [code for code, _ in groupby(code for _, code in REJECTED)] == [rule.code for rule in OPENING_RULES]


@pytest.mark.parametrize(("terms", "code"), REJECTED)
async def test_a_rejection_is_remembered(
    database: Database, settings: Settings, superuser: asyncpg.Connection, terms: dict[str, Any], code: str
) -> None:
    """The rejection replays even when the reference has become free since."""
    other = await add_account(superuser, reference="taken")

    first = await create_account(database, settings, key_of(), new_account(**terms))
    await superuser.execute("DELETE FROM funds.accounts WHERE id = $1", other)
    second = await create_account(database, settings, key_of(), new_account(**terms))

    assert [word(first), word(second)] == [code, f"replayed {code}"]
    assert isinstance(first.result, Rejection)
    assert first.result == second.result
    assert await outcomes(superuser) == [("key", "rejected")]
    assert await superuser.fetchval("SELECT count(*) FROM funds.accounts") == 0


async def test_a_key_serves_one_request(database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
    await create_account(database, settings, key_of(), new_account())
    await commit_batch(database, settings, MAIN, [[fence("fenced")]])

    reused = await create_account(database, settings, key_of(request="another"), new_account())
    kept_out = await create_account(database, settings, key_of("fenced"), new_account())

    assert [word(reused), word(kept_out)] == ["idempotency_key_reused", "key_fenced"]
    assert await superuser.fetchval("SELECT count(*) FROM funds.accounts") == 1


async def test_a_ledger_is_made_once_and_its_name_given_once(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    async def create(idempotency_key: str, name: str, request: str = "request") -> Answer[Ledger | Rejection]:
        key = key_of(idempotency_key, request, ledger_id=NO_LEDGER)
        return await create_ledger(database, settings, key, name=name, description="One")

    answers = [await create("a", "one"), await create("a", "one"), await create("b", "one"), await create("b", "one")]
    reused = await create("a", "two", request="another")

    assert [word(one) for one in answers] == [
        "created", "replayed created", "reference_taken", "replayed reference_taken",
    ]  # fmt: skip
    assert word(reused) == "idempotency_key_reused"
    first, second = answers[:2]
    assert isinstance(first.result, StoredLedger)
    assert isinstance(second.result, Ledger)
    known_by = ("name", "description", "created_at")  # not by id, which the decision does not keep
    assert [getattr(first.result, name) for name in known_by] == [getattr(second.result, name) for name in known_by]
    assert await superuser.fetchval("SELECT id FROM funds.ledgers WHERE name = 'one'") == first.result.id


def _tally(answers: Sequence[Answer[Any]]) -> dict[str, int]:
    names = [word(answer) for answer in answers]
    return {name: names.count(name) for name in names}


async def test_concurrent_duplicates_make_one_account(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    racers = [create_account(database, settings, key_of(), new_account(reference="one")) for _ in range(8)]
    answers = await asyncio.gather(*racers)

    assert _tally(answers) == {"created": 1, "replayed created": 7}
    ids: set[UUID] = {account_of(answer).id for answer in answers}
    assert {row["id"] for row in await superuser.fetch("SELECT id FROM funds.accounts")} == ids


async def test_of_many_concurrent_requests_for_a_reference_one_gets_it(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    async def race() -> list[Answer[AccountDetails | Rejection]]:
        racers = [
            create_account(database, settings, key_of(str(number)), new_account(reference="one")) for number in range(8)
        ]
        return await asyncio.gather(*racers)

    assert _tally(await race()) == {"created": 1, "reference_taken": 7}
    assert _tally(await race()) == {"replayed created": 1, "replayed reference_taken": 7}
    assert await superuser.fetchval("SELECT count(*) FROM funds.accounts") == 1


@pytest.mark.parametrize(("ending", "expected"), [("COMMIT", "replayed account_frozen"), ("ROLLBACK", "created")])
async def test_a_concurrent_duplicate_waits_for_the_first(
    database: Database, settings: Settings, superuser_url: str, ending: str, expected: str
) -> None:
    """The second looks before the first has committed, waits, and answers by what the first has left."""
    async with uncommitted_decision(superuser_url, "key", fingerprint=b"request") as writer:
        task = asyncio.create_task(create_account(database, settings, key_of(), new_account()))
        await OtherSession(writer).wait_for_waiters(1)
        await writer.execute(ending)
        assert word(await task) == expected


async def test_a_creation_whose_connection_ends_is_run_again(
    database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    async with uncommitted_decision(superuser_url, "key") as writer:
        task = asyncio.create_task(create_account(database, settings, key_of(), new_account()))
        await OtherSession(writer).wait_for_waiters(1)
        await end_waiting_sessions(superuser)
    assert word(await task) == "created"


@pytest.mark.parametrize("fault", CUTS)
async def test_a_creation_whose_commit_is_cut_is_made_once(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, fault: Fault
) -> None:
    """The decision under the key tells the next attempt whether the COMMIT was done."""
    async with commit_proxy(database_url) as proxy:
        database = Database.connect(proxy.url, settings)
        proxy.break_commits(fault, count=2, every_commit=True)
        answers = [await create_account(database, settings, key_of(), new_account()) for _ in range(2)]
        await database.close()

    assert proxy.faults_met == 2
    assert account_of(answers[0]) == account_of(answers[1])
    assert await superuser.fetchval("SELECT count(*) FROM funds.accounts") == 1


@pytest.mark.parametrize(("fault", "was_made"), [(Fault.REQUEST_LOST, False), (Fault.ANSWER_LOST, True)])
async def test_a_creation_without_another_attempt_stays_in_doubt(
    settings: Settings, database_url: str, fault: Fault, *, was_made: bool
) -> None:
    one_try = structs.replace(settings, commit_attempts_max=1)
    async with commit_proxy(database_url) as proxy:
        database = Database.connect(proxy.url, one_try)
        proxy.break_commits(fault, every_commit=True)
        with pytest.raises(StorageError) as caught:
            await create_account(database, one_try, key_of(), new_account())
        again = await create_account(database, one_try, key_of(), new_account())
        await database.close()

    assert (caught.value.failure, caught.value.in_doubt) == (Failure.UNAVAILABLE, True)
    assert word(again) == ("replayed created" if was_made else "created")
