"""Followers of a ledger's lists, while two processes write it: each item once, in order, none missed."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from tests.support.bank import Bank, open_bank
from tests.support.journal import Journal
from tests.support.socket_client import Client

WRITERS = 16


async def follow(client: Client, path: str, ended: Callable[[], bool]) -> list[Any]:
    """Read a list in rising order, a few items at a time, until it has an end after ``ended``."""
    found: list[Any] = []
    cursor = ""
    while True:
        last_look = ended()
        joint = "&" if "?" in path else "?"
        page = (await client.call("GET", f"{path}{joint}order=asc&limit=7{cursor}")).content
        found += page["items"]
        if page["next_cursor"] is not None:
            cursor = f"&cursor={page['next_cursor']}"
        if last_look and not page["items"]:
            return found


async def newest_first(client: Client, path: str) -> list[Any]:
    joint = "&" if "?" in path else "?"
    page = (await client.call("GET", f"{path}{joint}limit=1000")).content
    assert page["next_cursor"] is None
    return list(page["items"])


async def write(client: Client, bank: Bank, dice: random.Random, count: int) -> None:
    """Post transfers, some of them rejected, open holds and accounts."""
    path = f"/v1/ledgers/{bank.ledger}"
    for _ in range(count):
        debit, credit = dice.sample(bank.customers, 2)
        amount = 10**9 if dice.random() < 0.3 else 1
        body = {"debit_account_id": debit, "credit_account_id": credit, "amount": amount, "currency": "USD"}
        kind = dice.choice(["transfers", "transfers", "holds", "accounts"])
        if kind == "accounts":
            body = {"currency": "USD"}
        key = f"follow-{dice.getrandbits(64):x}"
        answer = await client.call("POST", f"{path}/{kind}", body, key=key)
        assert answer.status in {201, 422}, answer


LISTS = ["transfers", "transfers?account_id={customer}", "holds", "holds?account_id={customer}", "accounts"]
LISTS += ["decisions", "decisions?account_id={customer}"]


async def test_a_follower_sees_everything_once(clients: tuple[Client, Client], journal: Journal) -> None:
    """Most writers have no account in common: only the ledger's head puts them in order."""
    bank = await open_bank(clients[0], journal, customers=8)
    paths = [f"/v1/ledgers/{bank.ledger}/{path.format(customer=bank.customers[0])}" for path in LISTS]
    written = asyncio.Event()
    followers = [
        asyncio.create_task(follow(clients[number % 2], path, written.is_set)) for number, path in enumerate(paths)
    ]
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(write(clients[number % 2], bank, random.Random(number), 15))
    written.set()
    followed = await asyncio.gather(*followers)
    for path, found in zip(paths, followed, strict=True):
        rising = list(reversed(await newest_first(clients[0], path)))
        assert len(rising) > 5, path
        assert list(map(_name, found)) == list(map(_name, rising)), path


def _name(item: Any) -> Any:
    return item.get("id") or item["idempotency_key"]
