"""A small bank to run on: a ledger with a funding account and customers who may not overdraw."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.support.journal import Journal
from tests.support.orders import AnyOrder, CaptureOrder, HoldOrder, Order, ReversalOrder, VoidOrder
from tests.support.socket_client import Answer, Client

OPENING_BALANCE = 1_000


@dataclass(frozen=True)
class Bank:
    """``customers`` have a floor of 0 and OPENING_BALANCE each; ``treasury`` has no bounds."""

    ledger: str
    treasury: str
    customers: list[str]

    def order(self, debit: str, credit: str, amount: int = 1, *, at_most: bool = False) -> Order:
        return Order(self.ledger, str(uuid4()), debit, credit, amount, at_most=at_most)

    def hold(self, debit: str, credit: str, amount: int = 1) -> HoldOrder:
        return HoldOrder(self.ledger, str(uuid4()), debit, credit, amount)

    def capture(self, hold: str, amount: int | None = None, *, final: bool = True) -> CaptureOrder:
        return CaptureOrder(self.ledger, str(uuid4()), hold, amount, final)

    def void(self, hold: str) -> VoidOrder:
        return VoidOrder(self.ledger, str(uuid4()), hold)

    def reversal(self, transfer: str, amount: int | None = None) -> ReversalOrder:
        return ReversalOrder(self.ledger, str(uuid4()), transfer, amount)

    def random_orders(self, count: int, dice: random.Random, amount_max: int = 400) -> list[Order]:
        """Transfers between customers; the amounts are such that some find too little."""
        pairs = [dice.sample(self.customers, 2) for _ in range(count)]
        return [self.order(debit, credit, dice.randint(1, amount_max)) for debit, credit in pairs]


async def open_ledger(client: Client) -> str:
    name = f"bank-{uuid4().hex[:12]}"
    answer = await client.call("POST", "/v1/ledgers", {"name": name}, key=name)
    assert answer.status == 201, answer
    return name


async def open_account(client: Client, ledger: str, **body: Any) -> str:
    path = f"/v1/ledgers/{ledger}/accounts"
    answer = await client.call("POST", path, {"currency": "USD"} | body, key=str(uuid4()))
    assert answer.status == 201, answer
    return str(answer.content["id"])


async def open_bank(client: Client, journal: Journal, customers: int = 20, balance: int = OPENING_BALANCE) -> Bank:
    """Open a ledger and its accounts, and fund each customer with ``balance``."""
    ledger = await open_ledger(client)
    treasury, *accounts = await asyncio.gather(
        open_account(client, ledger, normal_side="debit"),
        *(open_account(client, ledger, minimum_balance=0) for _ in range(customers)),
    )
    bank = Bank(ledger, treasury, list(accounts))
    funding = [bank.order(treasury, account, balance) for account in bank.customers]
    await journal.post_all([client], funding, concurrency=8)
    assert all(journal.answers(order)[-1].status == 201 for order in funding)
    return bank


async def revise(client: Client, bank: Bank, account: str, change: dict[str, Any]) -> Answer:
    """Change ``account`` whatever its state is."""
    return await client.call("PATCH", f"/v1/ledgers/{bank.ledger}/accounts/{account}", change, if_match="*")


async def show(client: Client, bank: Bank, account: str) -> Any:
    """Return ``account`` as it is now."""
    answer = await client.call("GET", f"/v1/ledgers/{bank.ledger}/accounts/{account}")
    assert answer.status == 200, answer
    return answer.content


def some_twice(orders: Sequence[AnyOrder], dice: random.Random, share: float = 0.25) -> list[AnyOrder]:
    """Return the orders, and ``share`` of them a second time nearby, so that duplicates are in flight together."""
    sequence: list[AnyOrder] = []
    for order in orders:
        sequence.append(order)
        if dice.random() < share:
            sequence.insert(max(0, len(sequence) - dice.randint(0, 30)), order)
    return sequence


async def move_cents(over: asyncio.Event, client: Client, journal: Journal, bank: Bank, number: int) -> None:
    """Move a cent from customer to customer, again and again until it is ``over``; caller ``number`` begins with that
    customer. Every request must be decided.
    """
    for count in itertools.count(number):
        debit, credit = (bank.customers[place % len(bank.customers)] for place in (count, count + 1))
        answer = await journal.post(client, bank.order(debit, credit))
        assert answer is not None
        assert answer.status in {201, 422}, answer
        if over.is_set():
            return
        await asyncio.sleep(0.01)
