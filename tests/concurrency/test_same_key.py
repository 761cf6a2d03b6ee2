"""One idempotency key, many senders at once."""

import asyncio
import random
from dataclasses import replace
from itertools import cycle
from uuid import uuid4

from tests.support.bank import open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.other_session import holding_key
from tests.support.socket_client import Client

SENDERS = 50


async def test_the_same_request_is_applied_once_and_answered_alike(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    bank = await open_bank(clients[0], journal, customers=2)
    a, b = bank.customers
    for _ in range(5):
        order = bank.order(a, b, 10)
        await journal.post_all(clients, [order] * SENDERS, concurrency=SENDERS)

        answers = journal.answers(order)
        assert {answer.status for answer in answers} == {201}
        assert sum(not answer.replayed for answer in answers) == 1
        assert len({answer.content["id"] for answer in answers}) == 1
        assert len({answer.headers["location"] for answer in answers}) == 1

    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_a_rejection_is_the_same_for_all_and_stays(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    bank = await open_bank(clients[0], journal, customers=2, balance=10)
    poor, rich = bank.customers
    order = bank.order(poor, rich, 11)
    await journal.post_all(clients, [order] * SENDERS, concurrency=SENDERS)
    assert {answer.content["code"] for answer in journal.answers(order)} == {"insufficient_funds"}

    await journal.post_all(clients, [bank.order(rich, poor, 5)])  # now the money would be there
    for client in clients:
        answer = await journal.post(client, order)
        assert answer is not None
        assert (answer.status, answer.replayed) == (422, True)

    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_of_different_requests_under_one_key_one_wins(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """The requests share no account, so that only the key serializes them."""
    dice = random.Random(3)
    bank = await open_bank(clients[0], journal, customers=20)
    for _ in range(8):
        key = str(uuid4())
        orders = [replace(order, key=key) for order in bank.random_orders(SENDERS, dice, amount_max=10)]
        orders = list(dict.fromkeys(orders))
        answers = await asyncio.gather(
            *(
                client.call("POST", order.path, order.body, key=key)
                for order, client in zip(orders, cycle(clients), strict=False)
            )
        )
        outcomes = [(answer.status, answer.content.get("code")) for answer in answers]
        assert outcomes.count((201, None)) == 1
        assert outcomes.count((422, "idempotency_key_reused")) == len(orders) - 1

        winner = orders[outcomes.index((201, None))]
        journal.expect(winner)
        answer = await journal.post(clients[1], winner)
        assert answer is not None
        assert answer.replayed
        assert answer.content == answers[outcomes.index((201, None))].content

    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_the_same_keys_in_opposite_orders_do_not_deadlock(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Batches that share their keys and nothing else: each key goes to one of them. Whether PostgreSQL had to end a
    deadlock is asked when the services have stopped.
    """
    bank = await open_bank(clients[0], journal, customers=4)
    a, b, c, d = bank.customers
    path = bank.order(a, b).path

    async def post_batch(client: Client, debit: str, credit: str, keys: list[str]) -> list[int]:
        items = [bank.order(debit, credit).body | {"idempotency_key": key} for key in keys]
        answer = await client.call("POST", f"{path}/batch", {"transfers": items})
        by_key = {result["idempotency_key"]: result["status"] for result in answer.content["results"]}
        return [by_key[key] for key in sorted(keys)]

    keys = sorted(str(uuid4()) for _ in range(3))
    async with holding_key(shared_database_url, bank.ledger, keys[1]) as other_session, asyncio.TaskGroup() as group:
        one = group.create_task(post_batch(clients[0], a, b, keys))
        other = group.create_task(post_batch(clients[1], c, d, keys[::-1]))
        await other_session.wait_for_waiters(2)  # in the order of their items, each would have its first key by now
        await other_session.release()

    assert {frozenset(pair) for pair in zip(one.result(), other.result(), strict=True)} == {frozenset({201, 422})}
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
