"""The order of a ledger: whoever follows it by the newest identifier seen misses nothing, whoever wrote it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.bank import Bank, open_account, open_bank
from tests.support.database_faults import execute
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.orders import Order
from tests.support.rows import set_head_ahead
from tests.support.servers import TestDatabase
from tests.support.socket_client import Client

FOLLOWERS = 2
POLL_SECONDS = 0.003
BATCHES_EACH = 15
ITEMS = 60
"""Of a batch request; every fourth is a hold."""
ORDERS_EACH = 60
OPENINGS_EACH = 20
"""Of each process."""

_EVERYTHING = """
    SELECT id FROM funds.accounts WHERE ledger_id = $1 AND id > $2
    UNION ALL SELECT id FROM funds.transfers WHERE ledger_id = $1 AND id > $2
    UNION ALL SELECT id FROM funds.holds WHERE ledger_id = $1 AND id > $2
    ORDER BY id
"""
_FIRST = UUID(int=0)


async def _follow(url: str, ledger_id: int, ended: asyncio.Event) -> list[UUID]:
    """Ask again and again for what stands behind the newest identifier that was seen; return all that was seen."""
    connection = await asyncpg.connect(url)
    seen: list[UUID] = []
    try:
        while True:
            last_time = ended.is_set()
            rows = await connection.fetch(_EVERYTHING, ledger_id, seen[-1] if seen else _FIRST)
            seen += [row["id"] for row in rows]
            if last_time:
                return seen
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()


@asynccontextmanager
async def _followed(url: str, ledger: str) -> AsyncIterator[int]:
    """Within, the ledger is followed, and at the end nothing of it may be missing; its id is given."""
    connection = await asyncpg.connect(url)
    ledger_id = int(await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", ledger))
    ended = asyncio.Event()
    followers = [asyncio.create_task(_follow(url, ledger_id, ended)) for _ in range(FOLLOWERS)]
    try:
        yield ledger_id
    finally:
        ended.set()
        seen = await asyncio.gather(*followers)
        everything = [row["id"] for row in await connection.fetch(_EVERYTHING, ledger_id, _FIRST)]
        await connection.close()
    for one in seen:
        missed = set(everything) - set(one)
        assert not missed, f"{len(missed)} of {len(everything)} came behind what had been seen: {sorted(missed)[:5]}"
        assert one == everything


async def _write(client: Client, journal: Journal, bank: Bank, customers: list[str], dice: random.Random) -> None:
    """Move money between ``customers`` and hold some, in batch requests and alone, and open accounts meanwhile."""

    def order() -> Order:
        debit, credit = dice.sample(customers, 2)
        return bank.order(debit, credit)

    def item(number: int) -> dict[str, Any]:
        one = order()
        return one.body | {"idempotency_key": one.key} | ({} if number % 4 else {"hold": {}})

    async def post_batches() -> None:
        for _ in range(BATCHES_EACH):
            items = [item(number) for number in range(ITEMS)]
            answer = await client.call("POST", f"/v1/ledgers/{bank.ledger}/transfers/batch", {"transfers": items})
            assert answer.status == 201, answer

    async def open_accounts() -> None:
        for _ in range(OPENINGS_EACH):
            await open_account(client, bank.ledger)

    alone = [order() for _ in range(ORDERS_EACH)]
    await asyncio.gather(post_batches(), journal.post_all([client], alone, concurrency=4), open_accounts())


async def test_followers_miss_nothing_that_two_processes_write(
    clients: tuple[Client, Client], journal: Journal, shared_database: TestDatabase
) -> None:
    """Each process has customers of its own, so that no account makes one of them wait for the other."""
    bank = await open_bank(clients[0], journal, customers=24)
    halves = bank.customers[:12], bank.customers[12:]
    async with _followed(shared_database.superuser_url, bank.ledger):
        await asyncio.gather(
            *(
                _write(client, journal, bank, half, random.Random(number))
                for number, (client, half) in enumerate(zip(clients, halves, strict=True))
            )
        )
    # Of rows that came within seconds the planner knows nothing yet: the rules would take half a minute.
    await execute(shared_database, "ANALYZE")
    await assert_ledger_is_sound(shared_database.superuser_url, ledgers=[bank.ledger], accounts_were_opened=True)


async def test_followers_miss_nothing_when_the_clock_is_set_back(
    clients: tuple[Client, Client], journal: Journal, shared_database: TestDatabase
) -> None:
    """What was written last stands ahead of the clock that both processes read from now on."""
    bank = await open_bank(clients[0], journal, customers=8)
    superuser = await asyncpg.connect(shared_database.superuser_url)
    async with _followed(shared_database.superuser_url, bank.ledger) as ledger_id:
        for number, seconds in enumerate((0.0, 2.0, 3.0)):
            ahead = await set_head_ahead(superuser, seconds, ledger_id) if seconds else None
            orders = bank.random_orders(60, random.Random(number), amount_max=2)
            await journal.post_all(clients, orders, concurrency=8)
            written = await superuser.fetchval(
                "SELECT min(created_at) FROM funds.decisions"
                " WHERE ledger_id = $1 AND idempotency_key = ANY($2::text[])",
                ledger_id,
                [order.key for order in orders],
            )
            assert ahead is None or written > ahead
    await superuser.close()
    await assert_ledger_is_sound(shared_database.superuser_url, ledgers=[bank.ledger], accounts_were_opened=True)
