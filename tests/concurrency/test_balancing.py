"""Balancing amounts: sweeps run beside deposits, holds and each other, and every cent moves once."""

import random

from tests.support.bank import open_account, open_bank, revise, show, some_twice
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.orders import AnyOrder, Order
from tests.support.socket_client import Client

CALLERS = 64


async def test_sweeps_race_with_deposits(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Large and small sweeps empty an account down to its floor while it is filled; a quarter of all is sent twice."""
    dice = random.Random(51)
    bank = await open_bank(clients[0], journal, customers=1, balance=5_000)
    [vault] = bank.customers
    till = await open_account(clients[0], bank.ledger)
    await journal.post_all(clients, [bank.order(bank.treasury, till, 50)])
    assert (await revise(clients[0], bank, till, {"minimum_balance": 50})).status == 200
    deposits = [bank.order(bank.treasury, till, dice.randint(1, 40)) for _ in range(150)]
    sweeps = [bank.order(till, vault, dice.choice([10, 10**12]), at_most=True) for _ in range(150)]
    wishes: list[AnyOrder] = [*deposits, *sweeps]
    dice.shuffle(wishes)

    await journal.post_all(clients, some_twice(wishes, dice), concurrency=CALLERS)
    last = [bank.order(till, vault, 10**12, at_most=True) for _ in range(10)]
    await journal.post_all(clients, last, concurrency=10)

    swept = [journal.content(order)["amount"] for order in journal.applied([*sweeps, *last])]
    assert sum(swept) == sum(order.amount for order in deposits)
    assert all(1 <= journal.content(order)["amount"] <= order.amount for order in journal.applied(sweeps))
    assert {journal.outcome(order) for order in sweeps} == {"applied", "insufficient_funds"}
    assert all(_found_nothing(journal, order) for order in sweeps if journal.outcome(order) != "applied")
    assert (await show(clients[1], bank, till))["balance"] == 50
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


def _found_nothing(journal: Journal, order: Order) -> bool:
    problem = journal.content(order)
    return (problem["available_balance"], problem["amount"], problem["shortfall"]) == (50, 1, 1)


async def test_what_is_held_is_not_swept(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Sweeps race with holds being opened and captured: each takes only what the other left."""
    dice = random.Random(52)
    bank = await open_bank(clients[0], journal, customers=3)
    account, vault, shop = bank.customers
    holds = [bank.hold(account, shop, 30) for _ in range(30)]
    sweeps = [bank.order(account, vault, 100, at_most=True) for _ in range(8)]
    wishes: list[AnyOrder] = [*holds, *sweeps]
    dice.shuffle(wishes)
    await journal.post_all(clients, wishes, concurrency=CALLERS)
    captures = [bank.capture(journal.content(hold)["id"], 25) for hold in journal.applied(holds)]
    last: list[AnyOrder] = [bank.order(account, vault, 10**12, at_most=True) for _ in range(20)]
    closing: list[AnyOrder] = [*captures, *last]
    dice.shuffle(closing)

    await journal.post_all(clients, some_twice(closing, dice), concurrency=CALLERS)
    await journal.post_all(clients, [bank.order(account, vault, 10**12, at_most=True)])

    assert journal.applied(captures) == captures, "a sweep took what was held"
    assert (await show(clients[0], bank, account))["balance"] == 0
    assert (await show(clients[0], bank, shop))["balance"] == 1_000 + 25 * len(captures)
    assert (await show(clients[0], bank, vault))["balance"] == 2_000 - 25 * len(captures)
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
