"""One hold and many concurrent ends: captures, voids and its expiry."""

import asyncio
import random
from collections import Counter
from uuid import uuid4

from tests.support.bank import Bank, open_bank, some_twice
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.orders import AnyOrder, CaptureOrder, VoidOrder
from tests.support.other_session import expire_now, wait_until_closed
from tests.support.servers import TestDatabase
from tests.support.socket_client import Client

AMOUNT = 400
CALLERS = 64


async def _open_holds(clients: tuple[Client, Client], journal: Journal, bank: Bank, count: int) -> list[str]:
    """Open holds of AMOUNT between neighbours and return their ids."""
    orders = [
        bank.hold(
            bank.customers[number % len(bank.customers)], bank.customers[number % len(bank.customers) - 1], AMOUNT
        )
        for number in range(count)
    ]
    await journal.post_all(clients, orders)
    assert journal.applied(orders) == orders
    return [journal.content(order)["id"] for order in orders]


async def _hold(client: Client, bank: Bank, hold: str) -> dict[str, object]:
    answer = await client.call("GET", f"/v1/ledgers/{bank.ledger}/holds/{hold}")
    assert answer.status == 200, answer
    content: dict[str, object] = answer.content
    return content


async def test_a_hold_ends_once(clients: tuple[Client, Client], journal: Journal, shared_database_url: str) -> None:
    """Parts, final captures and voids of the same few holds at once, a quarter of them sent twice."""
    dice = random.Random(21)
    bank = await open_bank(clients[0], journal, customers=4)
    holds = await _open_holds(clients, journal, bank, 8)
    wishes: list[AnyOrder] = []
    for number, hold in enumerate(holds):
        wishes += [bank.capture(hold, dice.randint(1, 30), final=False) for _ in range(40)]
        wishes += [bank.capture(hold, dice.randint(1, 30), final=True) for _ in range(number % 4)]
        wishes += [bank.capture(hold), *(bank.void(hold) for _ in range(number % 3))]
    dice.shuffle(wishes)

    await journal.post_all(clients, some_twice(wishes, dice), concurrency=CALLERS)

    for hold in holds:
        shown = await _hold(clients[0], bank, hold)
        asked = [order for order in wishes if isinstance(order, CaptureOrder | VoidOrder) and order.hold == hold]
        applied = journal.applied(asked)
        captured = sum(journal.content(order)["amount"] for order in applied if isinstance(order, CaptureOrder))
        assert shown["captured_amount"] == captured <= AMOUNT
        ends = [order for order in applied if isinstance(order, VoidOrder) or order.final]
        assert len(ends) == 1 or (not ends and captured == AMOUNT)
        assert shown["status"] == ("voided" if ends and isinstance(ends[0], VoidOrder) else "captured")
        late = [journal.content(order) for order in asked if journal.outcome(order) == "hold_not_open"]
        assert late, "some must have come too late"
        assert {(problem["hold_status"], problem["captured_amount"]) for problem in late} == {
            (shown["status"], captured)
        }
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_parts_never_exceed_the_hold(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Many callers capture parts of a hold that none of them ends: exactly as many parts succeed as fit."""
    bank = await open_bank(clients[0], journal, customers=2)
    [hold] = await _open_holds(clients, journal, bank, 1)
    wishes = [bank.capture(hold, 7, final=False) for _ in range(100)]

    await journal.post_all(clients, wishes, concurrency=CALLERS)

    fitting = AMOUNT // 7
    assert Counter(map(journal.outcome, wishes)) == {"applied": fitting, "capture_exceeds_hold": 100 - fitting}
    [problem] = {
        (problem["hold_amount"], problem["captured_amount"], problem["amount"], problem["excess"])
        for problem in (journal.content(order) for order in wishes)
        if "code" in problem
    }
    assert problem == (AMOUNT, fitting * 7, 7, fitting * 7 + 7 - AMOUNT)
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_time_ends_holds_in_the_middle_of_their_captures(
    clients: tuple[Client, Client], journal: Journal, shared_database: TestDatabase
) -> None:
    """From the moment at which a hold expires nothing of it moves, whether a caller or a sweeper comes first."""
    dice = random.Random(22)
    bank = await open_bank(clients[0], journal, customers=6, balance=5_000)
    holds = await _open_holds(clients, journal, bank, 48)
    lasting, voided, passing = holds[:6], holds[6:12], holds[12:]
    wishes: list[AnyOrder] = []
    all_ended = asyncio.Event()

    async def capture_and_void(client: Client) -> None:
        while not all_ended.is_set():
            wish = bank.capture(dice.choice(holds), dice.randint(1, 3), final=False)
            wishes.append(wish)
            await journal.post(client, wish)

    async with asyncio.TaskGroup() as group:
        for client in clients * (CALLERS // 4):
            group.create_task(capture_and_void(client))
        for moment in range(6):
            voids = [bank.void(voided[moment]), bank.void(passing[moment])]
            wishes += voids
            load = group.create_task(journal.post_all(clients, voids))
            await expire_now(shared_database.superuser_url, passing[moment::6])
            await load
        await wait_until_closed(shared_database.superuser_url, passing)
        all_ended.set()

    statuses = [(await _hold(clients[1], bank, hold))["status"] for hold in holds]
    assert set(statuses[:6]) == {"open"}
    assert set(statuses[6:12]) == {"voided"}
    assert set(statuses[12:]) in ({"expired"}, {"expired", "voided"})
    assert statuses[12:].count("expired") >= len(passing) - 6
    codes = Counter(map(journal.outcome, wishes))
    assert codes.keys() <= {"applied", "hold_expired", "hold_not_open", "capture_exceeds_hold"}
    assert min(codes["applied"], codes["hold_expired"]) > len(lasting)
    await journal.assert_ledgers_agree(shared_database.service_url)
    await assert_ledger_is_sound(shared_database.service_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_two_sweepers_free_each_hold_once(
    clients: tuple[Client, Client], journal: Journal, shared_database: TestDatabase
) -> None:
    """Thousands of holds of a few accounts expire at one moment, while these accounts move money."""
    dice = random.Random(23)
    bank = await open_bank(clients[0], journal, customers=6)
    holds = await _open_holds_in_batches(clients, bank, dice)
    wishes: list[AnyOrder] = [bank.capture(hold, 1) for hold in dice.sample(holds, 150)]
    wishes += bank.random_orders(300, dice, amount_max=20)
    dice.shuffle(wishes)

    await expire_now(shared_database.superuser_url, holds)
    await journal.post_all(clients, wishes, concurrency=CALLERS)
    await wait_until_closed(shared_database.superuser_url, holds)

    outcomes = {journal.outcome(order) for order in wishes if isinstance(order, CaptureOrder)}
    assert outcomes == {"hold_expired"}
    for customer in bank.customers:
        account = (await clients[0].call("GET", f"/v1/ledgers/{bank.ledger}/accounts/{customer}")).content
        assert (account["debits_held"], account["credits_held"]) == (0, 0)
        assert account["available_balance"] == account["balance"]
    await assert_ledger_is_sound(shared_database.service_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def _open_holds_in_batches(clients: tuple[Client, Client], bank: Bank, dice: random.Random) -> list[str]:
    """Open 3,000 holds of 1 and return their ids."""

    async def open_batch(client: Client) -> list[str]:
        pairs = [dice.sample(bank.customers, 2) for _ in range(1_500)]
        items = [
            bank.order(debit, credit, 1).body | {"idempotency_key": str(uuid4()), "hold": {}} for debit, credit in pairs
        ]
        answer = await client.call("POST", f"/v1/ledgers/{bank.ledger}/transfers/batch", {"transfers": items})
        assert answer.status == 201, answer
        return [result["hold"]["id"] for result in answer.content["results"]]

    return [hold for batch in await asyncio.gather(*map(open_batch, clients)) for hold in batch]
