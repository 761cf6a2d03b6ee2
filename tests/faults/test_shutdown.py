"""SIGTERM: what was accepted is finished and answered, then the process leaves with 0."""

import asyncio
import random
import signal
from collections.abc import Callable

from tests.faults.under_load import strike_under_load
from tests.support.bank import open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.other_session import decided, holding_account, wait_until
from tests.support.servers import RunningService
from tests.support.socket_client import Client, ConnectionLostError

Serve = Callable[..., RunningService]


async def test_under_load_nothing_unanswered_was_applied(serve: Serve, journal: Journal, database_url: str) -> None:
    dice = random.Random(13)
    service = serve()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal)
        orders = bank.random_orders(1_500, dice)
        await strike_under_load(client, journal, orders, service.process.terminate, after=500)
    assert await asyncio.to_thread(service.process.wait, 30) == 0

    unanswered = [order.key for order in journal.unanswered]
    assert unanswered
    assert await decided(database_url, unanswered) == set()

    again = serve(FUNDS_ADMIN_TOKEN=service.admin_token)
    async with Client(again.url, again.admin_token) as client:
        await journal.decide_all([client])
    await journal.assert_ledgers_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)


async def test_accepted_requests_are_answered(serve: Serve, journal: Journal, database_url: str) -> None:
    """Nine requests are inside when the signal comes: one waits for a lock and eight fill the queue.

    When one more is refused because the queue is full, all nine are inside.
    """
    service = serve(FUNDS_QUEUE_COMMANDS_MAX="8", FUNDS_LOCK_TIMEOUT_MS="20000")
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=2)
        a, b = bank.customers
        orders = [bank.order(a, b) for _ in range(11)]
        async with holding_account(database_url, a) as other_session, asyncio.TaskGroup() as group:
            group.create_task(journal.post(client, orders[0]))
            await other_session.wait_for_waiters(1)
            for order in orders[1:]:
                group.create_task(journal.post(client, order))
            await wait_until(lambda: sum(bool(journal.answers(order)) for order in orders[1:]) == 2)

            service.process.send_signal(signal.SIGTERM)
            await wait_until(lambda: _refuses_connections(client))
            assert service.process.poll() is None
            await other_session.release()

        codes = [journal.answers(order)[0].content.get("code") for order in orders]
        assert (codes.count(None), codes.count("overloaded")) == (9, 2)
    assert await asyncio.to_thread(service.process.wait, 30) == 0
    applied = {order.key for order in orders if journal.answers(order)[0].status == 201}
    assert await decided(database_url, [order.key for order in orders]) == applied
    await journal.assert_ledgers_agree(database_url)


async def _refuses_connections(client: Client) -> bool:
    try:
        connection = await client.connect()
    except ConnectionLostError:
        return True
    connection.close()
    return False
