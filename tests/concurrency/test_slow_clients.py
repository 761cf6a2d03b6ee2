"""Callers that read or write slowly delay no other caller."""

import asyncio

from tests.support.bank import open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.socket_client import Client

SLOW = 20


async def test_clients_that_do_not_read_their_answers(
    client: Client, journal: Journal, shared_database_url: str
) -> None:
    """Large answers stay unread while other callers post. They are whole and right when they are read in the end."""
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
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_clients_that_send_byte_by_byte(client: Client, journal: Journal, shared_database_url: str) -> None:
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
    await journal.decide_all([client])
    await journal.assert_ledgers_agree(shared_database_url)
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
