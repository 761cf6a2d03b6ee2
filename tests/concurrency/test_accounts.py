"""Accounts opened by many at once, and revised while their money moves."""

import asyncio
import random
from itertools import cycle
from typing import Any
from uuid import uuid4

import asyncpg

from tests.concurrency.bank import Bank, open_bank, open_ledger
from tests.concurrency.client import Answer, Client
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.journal import Journal

SENDERS = 50


async def _open_at_once(
    clients: tuple[Client, Client], ledger: str, requests: list[tuple[str, dict[str, Any]]]
) -> list[Answer]:
    path = f"/v1/ledgers/{ledger}/accounts"
    calls = [
        client.call("POST", path, {"currency": "USD"} | body, key=key)
        for (key, body), client in zip(requests, cycle(clients), strict=False)
    ]
    return await asyncio.gather(*calls)


async def _accounts_in(url: str, ledger: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM funds.accounts AS account JOIN funds.ledgers AS ledger"
                " ON ledger.id = account.ledger_id WHERE ledger.name = $1",
                ledger,
            )
        )
    finally:
        await connection.close()


async def test_twins_under_one_key_open_one_account(clients: tuple[Client, Client], shared_database_url: str) -> None:
    ledger = await open_ledger(clients[0])
    twin: tuple[str, dict[str, Any]] = (str(uuid4()), {"reference": "salary", "minimum_balance": 0})

    answers = await _open_at_once(clients, ledger, [twin] * SENDERS)

    assert {answer.status for answer in answers} == {201}
    assert sum(not answer.replayed for answer in answers) == 1
    assert all(answer.content == answers[0].content for answer in answers)
    assert await _accounts_in(shared_database_url, ledger) == 1
    await assert_ledger_is_sound(shared_database_url, ledgers=[ledger])


async def test_of_different_accounts_under_one_key_one_wins(
    clients: tuple[Client, Client], shared_database_url: str
) -> None:
    ledger = await open_ledger(clients[0])
    key = str(uuid4())

    answers = await _open_at_once(clients, ledger, [(key, {"name": str(number)}) for number in range(SENDERS)])

    outcomes = [(answer.status, answer.content.get("code")) for answer in answers]
    assert outcomes.count((201, None)) == 1
    assert outcomes.count((422, "idempotency_key_reused")) == SENDERS - 1
    assert await _accounts_in(shared_database_url, ledger) == 1
    await assert_ledger_is_sound(shared_database_url, ledgers=[ledger])


async def test_a_reference_is_given_once(clients: tuple[Client, Client], shared_database_url: str) -> None:
    ledger = await open_ledger(clients[0])
    requests: list[tuple[str, dict[str, Any]]] = [(str(uuid4()), {"reference": "salary"}) for _ in range(SENDERS)]

    answers = await _open_at_once(clients, ledger, requests)

    outcomes = [(answer.status, answer.content.get("code")) for answer in answers]
    assert outcomes.count((201, None)) == 1
    assert outcomes.count((409, "reference_taken")) == SENDERS - 1
    again = await _open_at_once(clients, ledger, requests)
    assert [answer.content for answer in again] == [answer.content for answer in answers]
    assert all(answer.replayed for answer in again)
    assert await _accounts_in(shared_database_url, ledger) == 1
    await assert_ledger_is_sound(shared_database_url, ledgers=[ledger])


async def test_of_two_revisions_of_one_state_one_wins(clients: tuple[Client, Client], journal: Journal) -> None:
    bank = await open_bank(clients[0], journal, customers=1)
    path = f"/v1/ledgers/{bank.ledger}/accounts/{bank.customers[0]}"
    tag = (await clients[0].call("GET", path)).headers["etag"]
    for round_number in range(15):
        names = [f"{round_number} {number}" for number in range(4)]
        answers = await asyncio.gather(
            *(
                client.call("PATCH", path, {"name": name}, if_match=tag)
                for name, client in zip(names, cycle(clients), strict=False)
            )
        )
        statuses = [answer.status for answer in answers]
        assert sorted(statuses) == [200, 412, 412, 412]
        tag = answers[statuses.index(200)].headers["etag"]
        now = await clients[1].call("GET", path)
        assert (now.content["name"], now.headers["etag"]) == (names[statuses.index(200)], tag)


async def _database_time(url: str) -> str:
    """Return the database's time as the service writes times."""
    connection = await asyncpg.connect(url)
    try:
        now = await connection.fetchval("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
    finally:
        await connection.close()
    return f"{now.isoformat(timespec='microseconds')}Z"


async def _revise(client: Client, bank: Bank, account: str, change: dict[str, Any]) -> Answer:
    return await client.call("PATCH", f"/v1/ledgers/{bank.ledger}/accounts/{account}", change, if_match="*")


async def test_a_frozen_account_moves_nothing(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Freezing has its moment in the account's history: from then until it opens there is no transfer."""
    bank = await open_bank(clients[0], journal, customers=4)
    account, *others = bank.customers
    dice = random.Random(7)
    orders = [bank.order(account, dice.choice(others), 1) for _ in range(300)]
    orders += [bank.order(other, account, 1) for other in dice.choices(others, k=300)]
    dice.shuffle(orders)
    frozen_times: list[tuple[str, str]] = []

    async with asyncio.TaskGroup() as group:
        load = group.create_task(journal.post_all(clients, orders, concurrency=32))
        while not load.done():
            frozen = await _revise(clients[0], bank, account, {"status": "frozen"})
            frozen_times.append((frozen.content["updated_at"], await _database_time(shared_database_url)))
            opened = await _revise(clients[1], bank, account, {"status": "open"})
            assert (frozen.status, opened.status) == (200, 200)

    assert journal.acknowledged.keys() == {"201", "409"}, "the freezing must have met the load"
    moved = [
        journal.answers(order)[0].content["created_at"] for order in orders if journal.answers(order)[0].status == 201
    ]
    for since, until in frozen_times:
        assert not [at for at in moved if since <= at <= until]
    await journal.assert_books_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_a_revised_floor_holds_from_its_moment_on(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    bank = await open_bank(clients[0], journal, customers=2)
    account, other = bank.customers
    dice = random.Random(8)
    orders = [bank.order(account, other, dice.randint(1, 40)) for _ in range(300)]
    orders += [bank.order(other, account, dice.randint(1, 40)) for _ in range(300)]
    dice.shuffle(orders)
    floors: list[tuple[str, str, int]] = []
    statuses: list[int] = []

    async with asyncio.TaskGroup() as group:
        load = group.create_task(journal.post_all(clients, orders, concurrency=32))
        for client in cycle(clients):
            if load.done():
                break
            minimum = dice.randint(0, 2_500)
            answer = await _revise(client, bank, account, {"minimum_balance": minimum})
            statuses.append(answer.status)
            if answer.status == 200:
                until = await _database_time(shared_database_url)
                floors.append((answer.content["updated_at"], until, minimum))

    assert set(statuses) == {200, 422}, "some floors must have been too high"
    debits = [
        (answer.content["created_at"], answer.content["debit_balance_after"])
        for order in orders
        for answer in journal.answers(order)
        if order.debit == account and answer.status == 201
    ]
    for since, until, minimum in floors:
        assert not [balance for at, balance in debits if since <= at <= until and balance < minimum]
    await journal.assert_books_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger])


async def test_a_closed_account_is_empty_for_ever(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Each account is emptied, filled and closed at once: either the money stays or the door does."""
    bank = await open_bank(clients[0], journal, customers=12)
    orders = [
        order
        for customer in bank.customers
        for order in (bank.order(customer, bank.treasury, 1_000), bank.order(bank.treasury, customer, 5))
    ]
    async with asyncio.TaskGroup() as group:
        load = group.create_task(journal.post_all(clients, orders, concurrency=6))
        while not load.done():
            for customer, client in zip(bank.customers, cycle(clients), strict=False):
                answer = await _revise(client, bank, customer, {"status": "closed"})
                assert (answer.status, answer.content.get("code")) in {
                    (200, None), (409, "account_not_empty"), (409, "account_closed"),
                }  # fmt: skip

    for customer in bank.customers:
        account = (await clients[0].call("GET", f"/v1/ledgers/{bank.ledger}/accounts/{customer}")).content
        assert account["status"] == "open" or account["balance"] == 0
    await journal.assert_books_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
