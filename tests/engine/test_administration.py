"""Ledgers and accounts are made once under their keys, whoever else tries at the same time."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from msgspec import structs

from service.domain.accounts import AccountRevision
from service.engine.administration import (
    NO_LEDGER,
    Applied,
    NewAccount,
    Refused,
    create_account,
    create_ledger,
    revise_account,
)
from service.engine.settle import settle
from service.settings import Settings
from service.storage.database import Database
from service.storage.decisions import Key
from service.storage.errors import Failure, StorageError
from service.storage.models import Account, Base, Ledger
from tests.concurrency.outsider import Outsider
from tests.engine.commands import fence, transfer, words
from tests.engine.obstacles import end_waiting_sessions, uncommitted_decision
from tests.faults.proxy import Fault, commit_proxy
from tests.rows import MAIN, add_account

CUTS = [Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.ANSWER_RACED, Fault.CUT_AFTER]


def key_of(idempotency_key: str = "key", request: str = "request", ledger_id: int = MAIN) -> Key:
    return Key(
        ledger_id=ledger_id,
        client_id="client",
        idempotency_key=idempotency_key,
        fingerprint=request.encode(),
        operation="create_account",
    )


def new_account(**terms: Any) -> NewAccount:
    usual: dict[str, Any] = {
        "currency": "USD",
        "normal_side": "credit",
        "reference": None,
        "name": None,
        "minimum_balance": None,
        "maximum_balance": None,
        "metadata": {},
    }
    return NewAccount(**(usual | terms))


def word(answer: Applied[Any] | Refused) -> str:
    """Return the answer as ``created`` or the code of its rejection; ``replayed`` comes before it."""
    name = answer.rejection.code if isinstance(answer, Refused) else "created"
    return f"replayed {name}" if answer.replayed else name


def row_of(answer: Applied[Account] | Refused) -> Account:
    assert isinstance(answer, Applied)
    return answer.row


def columns(row: Base) -> dict[str, Any]:
    return {attribute.key: getattr(row, attribute.key) for attribute in row.__mapper__.column_attrs}


async def outcomes(superuser: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await superuser.fetch("SELECT idempotency_key, outcome FROM funds.decisions ORDER BY idempotency_key")
    return [(row["idempotency_key"], row["outcome"]) for row in rows]


async def test_an_account_is_made_once(database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
    new = new_account(reference="salary", name="Salary", minimum_balance=0, maximum_balance=9, metadata={"a": "b"})
    first, second = [await create_account(database, settings, key_of(), new) for _ in range(2)]

    assert [word(first), word(second)] == ["created", "replayed created"]
    assert columns(row_of(first)) == columns(row_of(second))
    stored = await superuser.fetchrow("SELECT id, reference, minimum_balance, status, version FROM funds.accounts")
    assert stored is not None
    assert tuple(stored) == (row_of(first).id, "salary", 0, "open", 0)
    assert await outcomes(superuser) == [("key", "applied")]


async def test_a_replay_shows_the_account_as_it_was_made(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """It has been revised and has moved money since: the answer under the key is still the first one."""
    made = row_of(await create_account(database, settings, key_of(), new_account(name="old", metadata={"a": "b"})))
    before = columns(made)
    revision = AccountRevision(name="new", metadata={}, minimum_balance=-5)
    assert isinstance(await revise_account(database, settings, MAIN, made.id, revision, expected_tags=None), Applied)
    moved = [[transfer(made.id, await add_account(superuser))]]
    assert words(await settle(database, settings, MAIN, moved)) == ["applied"]

    again = await create_account(database, settings, key_of(), new_account(name="old", metadata={"a": "b"}))

    assert word(again) == "replayed created"
    assert columns(row_of(again)) == before


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"currency": "XXX", "minimum_balance": 1, "reference": "taken"}, "currency_unknown"),
        ({"minimum_balance": 2, "maximum_balance": 1, "reference": "taken"}, "balance_limit_exceeded"),
        ({"minimum_balance": 1, "maximum_balance": -1, "reference": "taken"}, "balance_limit_exceeded"),
        ({"minimum_balance": 1, "reference": "taken"}, "insufficient_funds"),
        ({"maximum_balance": -1, "reference": "taken"}, "balance_limit_exceeded"),
        ({"reference": "taken"}, "reference_taken"),
    ],
)
async def test_a_refusal_is_remembered(
    database: Database, settings: Settings, superuser: asyncpg.Connection, terms: dict[str, Any], code: str
) -> None:
    """Rule by rule in their order, and for ever: even when the reference has come free."""
    other = await add_account(superuser, reference="taken")

    first = await create_account(database, settings, key_of(), new_account(**terms))
    await superuser.execute("DELETE FROM funds.accounts WHERE id = $1", other)
    second = await create_account(database, settings, key_of(), new_account(**terms))

    assert [word(first), word(second)] == [code, f"replayed {code}"]
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert first.rejection == second.rejection
    assert await outcomes(superuser) == [("key", "rejected")]
    assert await superuser.fetchval("SELECT count(*) FROM funds.accounts") == 0


async def test_a_key_serves_one_request(database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
    await create_account(database, settings, key_of(), new_account())
    await settle(database, settings, MAIN, [[fence("fenced")]])

    reused = await create_account(database, settings, key_of(request="another"), new_account())
    kept_out = await create_account(database, settings, key_of("fenced"), new_account())

    assert [word(reused), word(kept_out)] == ["idempotency_key_reused", "key_fenced"]
    assert await superuser.fetchval("SELECT count(*) FROM funds.accounts") == 1


async def test_a_ledger_is_made_once_and_its_name_given_once(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    async def create(idempotency_key: str, name: str, request: str = "request") -> Applied[Ledger] | Refused:
        key = key_of(idempotency_key, request, ledger_id=NO_LEDGER)
        return await create_ledger(database, settings, key, name=name, description="One")

    answers = [await create("a", "one"), await create("a", "one"), await create("b", "one"), await create("b", "one")]
    reused = await create("a", "two", request="another")

    assert [word(one) for one in answers] == [
        "created", "replayed created", "reference_taken", "replayed reference_taken",
    ]  # fmt: skip
    assert word(reused) == "idempotency_key_reused"
    first, second = answers[:2]
    assert isinstance(first, Applied)
    assert isinstance(second, Applied)
    known_by = ("name", "description", "created_at")  # not by id, which the registry does not keep
    assert [getattr(first.row, name) for name in known_by] == [getattr(second.row, name) for name in known_by]
    assert await superuser.fetchval("SELECT id FROM funds.ledgers WHERE name = 'one'") == first.row.id


def _tally(answers: Sequence[Applied[Any] | Refused]) -> dict[str, int]:
    names = [word(answer) for answer in answers]
    return {name: names.count(name) for name in names}


async def test_twins_make_one_account(database: Database, settings: Settings, superuser: asyncpg.Connection) -> None:
    racers = [create_account(database, settings, key_of(), new_account(reference="one")) for _ in range(8)]
    answers = await asyncio.gather(*racers)

    assert _tally(answers) == {"created": 1, "replayed created": 7}
    ids: set[UUID] = {row_of(answer).id for answer in answers}
    assert {row["id"] for row in await superuser.fetch("SELECT id FROM funds.accounts")} == ids


async def test_of_many_who_want_a_reference_one_gets_it(
    database: Database, settings: Settings, superuser: asyncpg.Connection
) -> None:
    async def race() -> list[Applied[Account] | Refused]:
        racers = [
            create_account(database, settings, key_of(str(number)), new_account(reference="one")) for number in range(8)
        ]
        return await asyncio.gather(*racers)

    assert _tally(await race()) == {"created": 1, "reference_taken": 7}
    assert _tally(await race()) == {"replayed created": 1, "replayed reference_taken": 7}
    assert await superuser.fetchval("SELECT count(*) FROM funds.accounts") == 1


@pytest.mark.parametrize(("ending", "expected"), [("COMMIT", "replayed account_frozen"), ("ROLLBACK", "created")])
async def test_the_second_of_twins_waits_for_the_first(
    database: Database, settings: Settings, superuser_url: str, ending: str, expected: str
) -> None:
    """It looked before the first had committed, and answers what the first has left."""
    async with uncommitted_decision(superuser_url, "key", fingerprint=b"request") as rival:
        task = asyncio.create_task(create_account(database, settings, key_of(), new_account()))
        await Outsider(rival).wait_for_waiters(1)
        await rival.execute(ending)
        assert word(await task) == expected


async def test_a_creation_whose_connection_ends_is_run_again(
    database: Database, settings: Settings, superuser: asyncpg.Connection, superuser_url: str
) -> None:
    async with uncommitted_decision(superuser_url, "key") as rival:
        task = asyncio.create_task(create_account(database, settings, key_of(), new_account()))
        await Outsider(rival).wait_for_waiters(1)
        await end_waiting_sessions(superuser)
    assert word(await task) == "created"


@pytest.mark.parametrize("fault", CUTS)
async def test_a_creation_whose_commit_is_cut_is_made_once(
    settings: Settings, database_url: str, superuser: asyncpg.Connection, fault: Fault
) -> None:
    """Under a key the doubt can be settled, and is."""
    async with commit_proxy(database_url) as proxy:
        database = Database.connect(proxy.url, settings)
        proxy.break_commits(fault, count=2, every_commit=True)
        answers = [await create_account(database, settings, key_of(), new_account()) for _ in range(2)]
        await database.close()

    assert proxy.faults_met == 2
    assert columns(row_of(answers[0])) == columns(row_of(answers[1]))
    assert await superuser.fetchval("SELECT count(*) FROM funds.accounts") == 1


@pytest.mark.parametrize(("fault", "was_made"), [(Fault.REQUEST_LOST, False), (Fault.ANSWER_LOST, True)])
async def test_a_creation_without_another_try_is_an_unknown_outcome(
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

    assert (caught.value.failure, caught.value.outcome_unknown) == (Failure.UNAVAILABLE, True)
    assert word(again) == ("replayed created" if was_made else "created")
