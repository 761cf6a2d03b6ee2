"""The service is killed under load: what it acknowledged is there, what it did not can be asked again."""

import asyncio
import random
from collections.abc import Callable

from tests.concurrency.bank import open_bank
from tests.concurrency.client import Client
from tests.concurrency.invariants import assert_ledger_is_sound
from tests.concurrency.journal import Journal
from tests.concurrency.outsider import wait_until
from tests.faults.processes import kill_everything, kill_workers
from tests.servers import RunningService

Serve = Callable[..., RunningService]


async def test_kill_and_restart(serve: Serve, journal: Journal, database_url: str) -> None:
    dice = random.Random(11)
    service = serve()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal)
        orders = bank.random_orders(1_500, dice)
        async with asyncio.TaskGroup() as group:
            group.create_task(journal.post_all([client], orders, concurrency=48))
            await wait_until(lambda: journal.decided_count > 500)
            kill_everything(service)
    assert journal.unanswered

    again = serve(FUNDS_PORT=str(service.port), FUNDS_ADMIN_TOKEN=service.admin_token)
    async with Client(again.url, again.admin_token) as client:
        await journal.settle([client])
    assert len(orders) < journal.decided_count
    await journal.assert_books_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)


async def test_a_killed_worker_is_replaced(serve: Serve, journal: Journal, database_url: str) -> None:
    dice = random.Random(12)
    service = serve()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal)
        orders = bank.random_orders(800, dice)
        async with asyncio.TaskGroup() as group:
            group.create_task(journal.post_all([client], orders, concurrency=48))
            await wait_until(lambda: journal.decided_count > 300)
            kill_workers(service)
        assert journal.unanswered
        await journal.settle([client])
    assert service.process.poll() is None
    await journal.assert_books_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)
