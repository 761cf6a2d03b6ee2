"""More requests than the service can take, and locks of other sessions: refused, and certainly not applied."""

import asyncio
from collections.abc import Callable
from functools import partial

from tests.support.bank import open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.orders import Order
from tests.support.other_session import OtherSession, decided, holding_account, wait_until
from tests.support.servers import RunningService
from tests.support.socket_client import Client

Serve = Callable[..., RunningService]


async def test_a_full_queue_refuses_and_nothing_refused_is_applied(
    serve: Serve, journal: Journal, database_url: str
) -> None:
    service = serve(FUNDS_QUEUE_COMMANDS_MAX="8", FUNDS_BATCHES_IN_FLIGHT_MAX="2", FUNDS_LOCK_TIMEOUT_MS="20000")
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=2)
        a, b = bank.customers
        orders = [bank.order(a, b) for _ in range(64)]
        async with holding_account(database_url, a) as other_session, asyncio.TaskGroup() as group:
            group.create_task(journal.post_all([client], orders, concurrency=64))
            # At most two batches of eight and a queue of eight are inside.
            await wait_until(lambda: _answered(journal, orders, 503) >= 64 - 3 * 8)
            assert _answered(journal, orders, 201) == 0
            await other_session.release()

        refused = [order for order in orders if journal.answers(order)[0].status == 503]
        for order in refused:
            answer = journal.answers(order)[0]
            assert (answer.content["code"], answer.content["outcome"]) == ("overloaded", "not_applied")
            assert int(answer.headers["retry-after"]) >= 1
        assert len(refused) < len(orders)
        assert await decided(database_url, [order.key for order in refused]) == set()

        await journal.decide_all([client])
    assert {journal.answers(order)[-1].status for order in orders} == {201}
    await journal.assert_ledgers_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)


async def test_waiting_too_long_in_the_queue_is_refused(serve: Serve, journal: Journal, database_url: str) -> None:
    service = serve(FUNDS_QUEUE_WAIT_SECONDS_MAX="0.2", FUNDS_BATCHES_IN_FLIGHT_MAX="1", FUNDS_LOCK_TIMEOUT_MS="20000")
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=2)
        a, b = bank.customers
        first, *late = [bank.order(a, b) for _ in range(10)]
        async with asyncio.TaskGroup() as group, holding_account(database_url, a) as other_session:
            group.create_task(journal.post(client, first))
            await other_session.wait_for_waiters(1)
            for order in late:
                group.create_task(journal.post(client, order))
            await asyncio.sleep(0.5)  # what is tested is the passing of time
            await other_session.release()

        assert journal.answers(first)[0].status == 201
        for order in late:
            answer = journal.answers(order)[0]
            assert (answer.content["code"], answer.content["outcome"]) == ("overloaded", "not_applied")
        assert await decided(database_url, [order.key for order in late]) == set()
        await journal.decide_all([client])
    await journal.assert_ledgers_agree(database_url)


async def test_locks_of_others(serve: Serve, journal: Journal, database_url: str) -> None:
    """A lock that is given up in time is waited out; one that is not is contention, and nothing was applied."""
    service = serve(FUNDS_LOCK_TIMEOUT_MS="50", FUNDS_COMMIT_ATTEMPTS_MAX="100", FUNDS_COMMIT_DEADLINE_SECONDS="1.5")
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal, customers=4)
        a, b, c, d = bank.customers
        stuck, free, patient = bank.order(a, b), bank.order(c, d), bank.order(a, b)
        async with holding_account(database_url, a):
            answer = await journal.post(client, stuck)
            assert answer is not None
            assert (answer.status, answer.content["code"]) == (503, "contention")
            assert answer.content["outcome"] == "not_applied"
            assert await decided(database_url, [stuck.key]) == set()
            await journal.post(client, free)
            assert journal.answers(free)[0].status == 201

        again = await journal.post(client, stuck)
        assert again is not None
        assert (again.status, again.replayed) == (201, False)

        async with asyncio.TaskGroup() as group, holding_account(database_url, a) as other_session:
            group.create_task(journal.post(client, patient))
            await other_session.wait_for_waiters(1)
            await wait_until(partial(_nobody_waits, other_session))  # the first try has timed out
            await other_session.wait_for_waiters(1)
            await other_session.release()
        assert [answer.status for answer in journal.answers(patient)] == [201]
    await journal.assert_ledgers_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)


async def _nobody_waits(other_session: OtherSession) -> bool:
    return await other_session.waiters() == 0


def _answered(journal: Journal, orders: list[Order], status: int) -> int:
    return sum(answer.status == status for order in orders for answer in journal.answers(order))
