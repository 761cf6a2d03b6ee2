"""Callers that disconnect: each request is done once or not at all, and sending it again tells which."""

import asyncio

from tests.support.bank import open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.orders import Order
from tests.support.other_session import decided, holding_account, wait_until
from tests.support.socket_client import Client


async def _ask_and_leave(client: Client, order: Order, *, part: float = 1.0, rudely: bool = False) -> None:
    """Send the first ``part`` of a request and close the connection."""
    request = client.request("POST", order.path, order.body, key=order.key)
    connection = await client.connect()
    await connection.send(request[: round(len(request) * part)])
    connection.close(rudely=rudely)
    await connection.wait_closed()


async def test_requests_of_callers_that_disconnected_are_done_once_or_never(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    bank = await open_bank(clients[0], journal, customers=4)
    a, b, c, d = bank.customers
    orders = [bank.order(x, y, 1) for _ in range(25) for x, y in ((a, b), (b, a), (c, d), (d, c))]
    async with asyncio.TaskGroup() as group:
        for number, order in enumerate(orders):
            journal.expect(order)
            group.create_task(_ask_and_leave(clients[number % 2], order, rudely=number % 3 == 0))

    await journal.decide_all(clients)

    assert {journal.answers(order)[-1].status for order in orders} == {201}
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_half_a_request_is_never_applied(client: Client, journal: Journal, shared_database_url: str) -> None:
    bank = await open_bank(client, journal, customers=2)
    a, b = bank.customers
    orders = [bank.order(a, b, 1) for _ in range(20)]
    for number, order in enumerate(orders):
        await _ask_and_leave(client, order, part=0.3 + 0.03 * number, rudely=number % 2 == 0)

    await journal.post_all([client], orders, concurrency=1)  # the journal fails a replay: no request came before

    assert {journal.answers(order)[0].status for order in orders} == {201}
    await journal.assert_ledgers_agree(shared_database_url)


async def test_a_caller_that_disconnects_cancels_nothing(
    client: Client, journal: Journal, shared_database_url: str
) -> None:
    """The transfer waits for a lock when its caller disconnects; it is applied all the same."""
    bank = await open_bank(client, journal, customers=2)
    a, b = bank.customers
    order = bank.order(a, b, 1)
    journal.expect(order)
    async with holding_account(shared_database_url, order.debit) as other_session:
        connection = await client.connect()
        await connection.send(client.request("POST", order.path, order.body, key=order.key))
        await other_session.wait_for_waiters(1)
        connection.close(rudely=True)
        await connection.wait_closed()
        # When a new connection is answered on the same event loop, the service has noticed the end of that one.
        assert (await client.call("GET", "/health/live")).status == 200
        await other_session.release()

    async def is_decided() -> bool:
        return bool(await decided(shared_database_url, [order.key]))

    await wait_until(is_decided)
    answer = await journal.post(client, order)
    assert answer is not None
    assert (answer.status, answer.replayed) == (201, True)
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
