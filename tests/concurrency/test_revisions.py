"""Accounts revised while their money moves: from the moment of a revision on, the rules follow it."""

import asyncio
import random
from collections import Counter
from datetime import datetime
from itertools import cycle
from typing import Any

import asyncpg
import pytest

from tests.concurrency.races import LEADS_SECONDS, RACES, with_lead
from tests.support.bank import Bank, open_bank, revise, show
from tests.support.invariants import account_lines, assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.orders import AnyOrder, VoidOrder
from tests.support.other_session import database_time
from tests.support.socket_client import Client

CALLERS = 32


async def _history(url: str, bank: Bank, account: str) -> list[asyncpg.Record]:
    """Return every change of an account: its time, what was posted, the balance and what was held after it."""
    connection = await asyncpg.connect(url)
    try:
        ledger_id = await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", bank.ledger)
        return await account_lines(connection, ledger_id, account)
    finally:
        await connection.close()


async def _orders(
    clients: tuple[Client, Client], journal: Journal, bank: Bank, account: str, dice: random.Random
) -> list[AnyOrder]:
    """Return orders of every kind for ``account``, in random order: in and out, transfers and holds."""
    others = [customer for customer in bank.customers if customer != account]
    pairs = [(account, other) if number % 2 else (other, account) for number, other in enumerate(others * 40)]
    holds = [bank.hold(debit, credit, 3) for debit, credit in pairs]
    await journal.post_all(clients, holds)
    opened = [journal.content(hold)["id"] for hold in holds]
    orders: list[AnyOrder] = [bank.order(debit, credit, dice.randint(1, 20)) for debit, credit in pairs * 2]
    orders += [bank.hold(debit, credit, dice.randint(1, 20)) for debit, credit in pairs]
    orders += [bank.capture(hold, dice.randint(1, 3)) for hold in opened[::2]]
    orders += [bank.void(hold) for hold in opened[1::2]]
    dice.shuffle(orders)
    return orders


async def test_a_frozen_account_moves_nothing(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """From its freezing until it opens there is neither a transfer nor a new hold; holds may be voided."""
    dice = random.Random(7)
    bank = await open_bank(clients[0], journal, customers=4)
    account = bank.customers[0]
    orders = await _orders(clients, journal, bank, account, dice)
    frozen_times: list[tuple[datetime, datetime]] = []

    async with asyncio.TaskGroup() as group:
        load = group.create_task(journal.post_all(clients, orders, concurrency=CALLERS))
        while not load.done():
            frozen = await revise(clients[0], bank, account, {"status": "frozen"})
            until = await database_time(shared_database_url)
            opened = await revise(clients[1], bank, account, {"status": "open"})
            assert (frozen.status, opened.status) == (200, 200)
            frozen_times.append((datetime.fromisoformat(frozen.content["updated_at"]), until))

    outcomes = Counter((order.operation, journal.outcome(order)) for order in orders)
    assert {code for _, code in outcomes} == {"applied", "account_frozen"}, "the freezing must have met the load"
    assert {journal.outcome(order) for order in orders if isinstance(order, VoidOrder)} == {"applied"}
    for row in await _history(shared_database_url, bank, account):
        is_release = row["id"] is None
        assert is_release or not [1 for since, until in frozen_times if since <= row["created_at"] <= until]
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


@pytest.mark.parametrize(
    ("bound", "code"), [("minimum_balance", "insufficient_funds"), ("maximum_balance", "balance_limit_exceeded")]
)
async def test_a_revised_bound_holds_from_its_moment_on(
    clients: tuple[Client, Client],
    journal: Journal,
    shared_database_url: str,
    bound: str,
    code: str,
) -> None:
    dice = random.Random(8)
    bank = await open_bank(clients[0], journal, customers=4)
    account = bank.customers[0]
    orders = await _orders(clients, journal, bank, account, dice)
    windows: list[tuple[datetime, datetime, int]] = []
    rejections: list[dict[str, Any]] = []
    basis = "available_balance" if bound == "minimum_balance" else "balance"
    near = 1_000

    async with asyncio.TaskGroup() as group:
        load = group.create_task(journal.post_all(clients, orders, concurrency=CALLERS))
        for client, distance in zip(cycle(clients), cycle([-15, 15, -5]), strict=False):
            if load.done():
                break
            limit = near + distance
            answer = await revise(
                client, bank, account, {"minimum_balance": None, "maximum_balance": None, bound: limit}
            )
            near = answer.content[basis]
            if answer.status == 200:
                since = datetime.fromisoformat(answer.content["updated_at"])
                windows.append((since, await database_time(shared_database_url), limit))
            else:
                rejections.append(answer.content)

    assert windows
    assert rejections
    met = [
        order for order in orders if journal.outcome(order) == code and journal.content(order)["account_id"] == account
    ]
    assert met, "a bound must have met the load"
    for problem in rejections:
        assert problem["code"] == code
        if bound == "minimum_balance":
            assert problem["balance"] - problem["held"] == problem["available_balance"]
            assert problem["shortfall"] == problem[bound] - problem["available_balance"] > 0
        else:
            assert problem["excess"] == problem["balance"] - problem[bound] > 0
    for row in await _history(shared_database_url, bank, account):
        for limit in [limit for since, until, limit in windows if since <= row["created_at"] <= until]:
            if bound == "minimum_balance":
                assert row["balance"] - row["held"] >= limit
            else:
                assert row["balance"] <= limit
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger])


@pytest.mark.parametrize("arrival", ["transfer", "hold"])
async def test_a_closed_account_is_empty_for_ever(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str, arrival: str
) -> None:
    """Empty accounts are closed while money, or a hold, arrives: either that is rejected or the closing is."""
    bank = await open_bank(clients[0], journal, customers=RACES)
    holds = [bank.hold(customer, bank.treasury, 400) for customer in bank.customers]
    await journal.post_all(clients, holds)
    closed_early = await revise(clients[0], bank, bank.customers[0], {"status": "closed"})
    assert closed_early.content["code"] == "account_not_empty"
    emptying: list[AnyOrder] = [bank.order(customer, bank.treasury, 600) for customer in bank.customers]
    emptying += [bank.capture(journal.content(hold)["id"]) for hold in holds]
    await journal.post_all(clients, emptying)

    async def race(customer: str, lead_seconds: float) -> str:
        make = bank.hold if arrival == "hold" else bank.order
        order = make(bank.treasury, customer, 5)
        closing, _ = await with_lead(
            lead_seconds,
            revise(clients[0], bank, customer, {"status": "closed"}),
            journal.post(clients[1], order),
        )
        account = await show(clients[1], bank, customer)
        if closing.status == 200:
            assert journal.outcome(order) == "account_closed"
            assert account["status"] == "closed"
            assert (account["balance"], account["credits_held"]) == (0, 0)
            return "closed"
        assert closing.content["code"] == "account_not_empty"
        assert journal.outcome(order) == "applied"
        assert account["status"] == "open"
        assert (closing.content["balance"], closing.content["credits_held"]) == (
            (0, 5) if arrival == "hold" else (5, 0)
        )
        return "open"

    outcomes = Counter(await asyncio.gather(*map(race, bank.customers, LEADS_SECONDS)))

    assert outcomes.keys() == {"closed", "open"}, "each side must have won some"
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
