"""Concurrent reversals of one transfer: never more of it comes back than there was."""

import random
from collections import Counter

from tests.support.bank import Bank, open_bank, some_twice
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.orders import AnyOrder, ReversalOrder
from tests.support.socket_client import Client

AMOUNT = 400
CALLERS = 64


async def _reversible(clients: tuple[Client, Client], journal: Journal, bank: Bank) -> list[str]:
    """Post transfers of AMOUNT, capture a hold of AMOUNT, and return their ids."""
    a, b, c, d = bank.customers
    orders = [bank.order(a, b, AMOUNT), bank.order(c, d, AMOUNT), bank.order(b, c, AMOUNT)]
    hold = bank.hold(d, a, AMOUNT)
    await journal.post_all(clients, [*orders, hold])
    capture = bank.capture(journal.content(hold)["id"])
    await journal.post_all(clients, [capture])
    return [journal.content(order)["id"] for order in (*orders, capture)]


async def test_parts_never_exceed_the_whole(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Parts and wholes of the same few transfers at once, a quarter of them sent twice, until nothing is left."""
    dice = random.Random(31)
    bank = await open_bank(clients[0], journal, customers=4, balance=10_000)
    transfers = await _reversible(clients, journal, bank)
    wishes = [bank.reversal(transfer, dice.randint(1, 30)) for transfer in transfers for _ in range(60)]
    dice.shuffle(wishes)
    wholes = [bank.reversal(transfer) for transfer in transfers for _ in range(6)]

    await journal.post_all(clients, some_twice(wishes, dice), concurrency=CALLERS)
    await journal.post_all(clients, some_twice(wholes, dice), concurrency=CALLERS)

    for transfer in transfers:
        parts = [order for order in wishes if order.transfer == transfer]
        moved = sum(journal.content(order)["amount"] for order in journal.applied(parts))
        assert 0 < moved <= AMOUNT
        assert {journal.outcome(order) for order in parts} <= {
            "applied", "reversal_exceeds_transfer", "already_reversed",
        }  # fmt: skip
        rest = [order for order in wholes if order.transfer == transfer]
        assert sum(journal.content(order)["amount"] for order in journal.applied(rest)) == AMOUNT - moved
        assert Counter(map(journal.outcome, rest))["already_reversed"] == len(rest) - (moved < AMOUNT)
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_a_whole_transfer_comes_back_once(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    bank = await open_bank(clients[0], journal, customers=4)
    transfers = await _reversible(clients, journal, bank)
    wishes = [bank.reversal(transfer) for transfer in transfers * 50]

    await journal.post_all(clients, wishes, concurrency=CALLERS)

    for transfer in transfers:
        outcomes = Counter(journal.outcome(order) for order in wishes if order.transfer == transfer)
        assert outcomes == {"applied": 1, "already_reversed": 49}
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_money_that_is_spent_meanwhile_does_not_come_back(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """A receiver spends what senders reverse: the minimum holds, and each cent moves only one way."""
    bank = await open_bank(clients[0], journal, customers=3)
    sender, receiver, shop = bank.customers
    gift = bank.order(sender, receiver, 1_000)
    await journal.post_all(clients, [bank.order(receiver, shop, 1_000), gift], concurrency=1)
    wishes: list[AnyOrder] = []
    for _ in range(150):
        wishes += [bank.order(receiver, shop, 10), bank.reversal(journal.content(gift)["id"], 10)]

    await journal.post_all(clients, wishes, concurrency=CALLERS)

    codes = {
        kind: {journal.outcome(order) for order in wishes if isinstance(order, kind)} for kind in map(type, wishes)
    }
    assert codes[ReversalOrder] == {"applied", "insufficient_funds"}
    assert sum(journal.content(order)["amount"] for order in journal.applied(wishes)) == 1_000
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
