"""Many clients at once: nothing fails, nothing is lost, nothing is done twice."""

import asyncio
import random
from itertools import chain

import pytest

from tests.support.bank import open_bank, some_twice
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.socket_client import Client

CLIENTS = 64


@pytest.mark.parametrize("processes", [1, 2])
async def test_two_thousand_transfers_a_quarter_of_them_sent_twice(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str, processes: int
) -> None:
    dice = random.Random(processes)
    bank = await open_bank(clients[0], journal, customers=20)
    orders = bank.random_orders(2_000, dice)

    await journal.post_all(clients[:processes], some_twice(orders, dice), concurrency=CLIENTS)

    assert journal.unanswered == []
    assert set(journal.acknowledged) == {"201", "422"}, "the minimum must have rejected some"
    assert sum(len(journal.answers(order)) for order in orders) > 2_300
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


@pytest.mark.parametrize("processes", [1, 2])
async def test_opposing_directions(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str, processes: int
) -> None:
    bank = await open_bank(clients[0], journal, customers=2)
    a, b = bank.customers
    there = [bank.order(a, b, 7) for _ in range(250)]
    back = [bank.order(b, a, 7) for _ in range(250)]

    await journal.post_all(clients[:processes], chain.from_iterable(zip(there, back, strict=True)), concurrency=CLIENTS)

    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


@pytest.mark.parametrize("processes", [1, 2])
async def test_one_hot_account(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str, processes: int
) -> None:
    bank = await open_bank(clients[0], journal, customers=21)
    hot, *others = bank.customers
    fees = [bank.order(others[number % 20], hot, 1) for number in range(500)]

    await journal.post_all(clients[:processes], fees, concurrency=CLIENTS)

    assert all(journal.answers(order)[0].status == 201 for order in fees)
    answer = await clients[0].call("GET", f"/v1/ledgers/{bank.ledger}/accounts/{hot}")
    assert (answer.content["balance"], answer.content["version"]) == (1_000 + 500, 1 + 500)
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_the_last_cent_is_spent_once(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Many callers spend the same money through two processes: exactly as many succeed as there is money for."""
    bank = await open_bank(clients[0], journal, customers=2, balance=10)
    poor, rich = bank.customers
    wishes = [bank.order(poor, rich, 1) for _ in range(100)]

    await journal.post_all(clients, wishes, concurrency=100)

    statuses = [journal.answers(order)[0].status for order in wishes]
    assert (statuses.count(201), statuses.count(422)) == (10, 90)
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_several_ledgers_at_once(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    dice = random.Random(5)
    banks = await asyncio.gather(*(open_bank(clients[0], journal, customers=6) for _ in range(4)))
    orders = [order for bank in banks for order in bank.random_orders(200, dice)]
    dice.shuffle(orders)

    await journal.post_all(clients, some_twice(orders, dice), concurrency=CLIENTS)

    await journal.assert_ledgers_agree(shared_database_url)
    ledgers = [bank.ledger for bank in banks]
    await assert_ledger_is_sound(
        shared_database_url, ledgers=ledgers, bounds_were_constant=True, accounts_were_opened=True
    )


async def test_the_ledger_is_sound_at_every_moment(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """A reader in the middle of the load sees whole transfers only. The load goes on until it has looked often."""
    dice = random.Random(6)
    bank = await open_bank(clients[0], journal, customers=8)
    looks = rounds = 0

    async def post() -> None:
        nonlocal rounds
        while rounds < 4 or looks <= 2:
            await journal.post_all(clients, bank.random_orders(200, dice, amount_max=100), concurrency=CLIENTS)
            rounds += 1

    async with asyncio.TaskGroup() as group:
        load = group.create_task(post())
        while not load.done():
            await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
            looks += 1

    assert looks > 2
    await journal.assert_ledgers_agree(shared_database_url)
