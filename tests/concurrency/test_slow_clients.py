"""Callers who read or write slowly keep nobody else waiting."""

import asyncio

from tests.concurrency.bank import open_bank
from tests.concurrency.client import Client
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.journal import Journal

SLOW = 20


async def test_readers_who_do_not_read(client: Client, journal: Journal, shared_database_url: str) -> None:
    """Large answers stand unread while others post; they are whole and right when they are read at last."""
    bank = await open_bank(client, journal, customers=4)
    orders = [bank.order(bank.customers[number % 4], bank.customers[number % 4 - 1], 1) for number in range(300)]
    await journal.post_all([client], orders)
    path = f"/v1/ledgers/{bank.ledger}/transfers?limit=300"
    readers = [await client.connect(receive_bytes=4096) for _ in range(SLOW)]
    for reader in readers:
        await reader.send(client.request("GET", path))

    more = [bank.order(order.credit, order.debit, 1) for order in orders]
    await journal.post_all([client], more)
    assert {journal.answers(order)[0].status for order in more} == {201}

    for answer in await asyncio.gather(*(reader.receive() for reader in readers)):
        assert answer.status == 200
        assert len(answer.content["items"]) == 300
    for reader in readers:
        reader.close()
        await reader.wait_closed()
    await journal.assert_books_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_writers_who_dribble(client: Client, journal: Journal, shared_database_url: str) -> None:
    bank = await open_bank(client, journal, customers=4)
    a, b, c, d = bank.customers
    slow = [bank.order(a, b, 1) for _ in range(SLOW)]
    requests = [client.request("POST", order.path, order.body, key=order.key) for order in slow]
    connections = [await client.connect() for _ in slow]
    for connection, request in zip(connections, requests, strict=True):
        await connection.send(request[:-1])

    quick = [bank.order(c, d, 1) for _ in range(200)]
    await journal.post_all([client], quick)
    assert {journal.answers(order)[0].status for order in quick} == {201}

    for connection, request in zip(connections, requests, strict=True):
        await connection.send(request[-1:])
        assert (await connection.receive()).status == 201
        connection.close()
        await connection.wait_closed()
    for order in slow:
        journal.expect(order)
    await journal.settle([client])
    await journal.assert_books_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
