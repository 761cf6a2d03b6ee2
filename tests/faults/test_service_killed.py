"""The service is killed under load: what it acknowledged is stored, and other requests can be sent again."""

import random
from collections.abc import Callable
from functools import partial

from tests.faults.under_load import strike_under_load
from tests.support.bank import open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.killing import kill_everything, kill_workers
from tests.support.servers import RunningService
from tests.support.socket_client import Client

Serve = Callable[..., RunningService]


async def test_kill_and_restart(serve: Serve, journal: Journal, database_url: str) -> None:
    dice = random.Random(11)
    service = serve()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal)
        orders = bank.random_orders(1_500, dice)
        await strike_under_load(client, journal, orders, partial(kill_everything, service), after=500)
    assert journal.unanswered

    again = serve(FUNDS_PORT=str(service.port), FUNDS_ADMIN_TOKEN=service.admin_token)
    async with Client(again.url, again.admin_token) as client:
        await journal.decide_all([client])
    assert len(orders) < journal.decided_count
    await journal.assert_ledgers_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)


async def test_a_killed_worker_is_replaced(serve: Serve, journal: Journal, database_url: str) -> None:
    dice = random.Random(12)
    service = serve()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal)
        orders = bank.random_orders(800, dice)
        await strike_under_load(client, journal, orders, partial(kill_workers, service), after=300)
        assert journal.unanswered
        await journal.decide_all([client])
    assert service.process.poll() is None
    await journal.assert_ledgers_agree(database_url)
    await assert_ledger_is_sound(database_url, bounds_were_constant=True)
