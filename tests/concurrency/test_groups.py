"""Groups under load: their transfers apply together or not at all, at every moment."""

import asyncio
import random
from collections import Counter
from itertools import pairwise
from typing import Any
from uuid import uuid4

from tests.support.bank import Bank, open_account, open_bank, show
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.socket_client import Answer, Client

CALLERS = 24


def _chain(bank: Bank, stations: list[str], amount: int) -> list[dict[str, Any]]:
    """Return a group that takes ``amount`` from the first station through every other to the last."""
    group = str(uuid4())
    return [
        bank.order(debit, credit, amount).body | {"idempotency_key": str(uuid4()), "group": group}
        for debit, credit in pairwise(stations)
    ]


async def _post(client: Client, bank: Bank, items: list[dict[str, Any]], mode: str = "independent") -> Answer:
    path = f"/v1/ledgers/{bank.ledger}/transfers/batch"
    answer = await client.call("POST", path, {"transfers": items, "mode": mode})
    assert answer.status in {201, 207, 422}, answer
    return answer


async def test_chains_through_empty_accounts(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """Every chain goes through the same two accounts with a minimum of zero and no money, beside other transfers."""
    dice = random.Random(61)
    bank = await open_bank(clients[0], journal, customers=6)
    through = [await open_account(clients[0], bank.ledger, minimum_balance=0, maximum_balance=60) for _ in range(2)]
    batches = []
    for _ in range(60):
        chains = [_chain(bank, [dice.choice(bank.customers), *through, bank.treasury], dice.randint(1, 80))]
        chains += [_chain(bank, dice.sample(bank.customers, 3), dice.randint(1, 400)) for _ in range(3)]
        items = [item for chain in chains for item in chain]
        batches.append(items)
    outcomes: Counter[str] = Counter()
    waiting = iter(batches)

    async def work(client: Client) -> None:
        for items in waiting:
            answer = await _post(client, bank, items)
            outcomes.update(_assert_whole(items, answer.content["results"]))
            replayed = await _post(client, bank, items)
            assert [result["replayed"] for result in replayed.content["results"]] == [True] * len(items)
            assert _without_replayed(replayed) == _without_replayed(answer)

    async with asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(work(clients[number % 2]))
        for _ in range(20):
            for account in through:
                assert (await show(clients[0], bank, account))["balance"] == 0, "half of a chain was seen"

    assert set(outcomes) == {"applied", "insufficient_funds", "balance_limit_exceeded"}
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


def _assert_whole(items: list[dict[str, Any]], results: list[dict[str, Any]]) -> list[str]:
    """Assert that each group applied as a whole, or was rejected because of one command; return which of the two."""
    members: dict[str, list[dict[str, Any]]] = {}
    for item, result in zip(items, results, strict=True):
        members.setdefault(item["group"], []).append(result)
    outcomes = []
    for group in members.values():
        codes = [result["problem"]["code"] for result in group if "problem" in result]
        if codes:
            assert len(codes) == len(group)
            [cause] = [code for code in codes if code != "batch_rejected"]
            outcomes.append(cause)
        else:
            assert len({result["transfer"]["group_id"] for result in group}) == 1
            outcomes.append("applied")
    return outcomes


def _without_replayed(answer: Answer) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in result.items() if name != "replayed"} for result in answer.content["results"]
    ]


async def test_atomic_batches_cross(clients: tuple[Client, Client], journal: Journal, shared_database_url: str) -> None:
    """Atomic batches around all accounts, in both directions: balances stay as they were only if each is whole."""
    bank = await open_bank(clients[0], journal, customers=5, balance=10)
    ring = [*bank.customers, bank.customers[0]]

    async def post(number: int) -> int:
        stations = ring if number % 2 else ring[::-1]
        items = _chain(bank, stations, 10 if number % 3 else 11)
        answer = await _post(clients[number // 2 % 2], bank, [item | {"group": None} for item in items], "atomic")
        assert answer.status == (201 if number % 3 else 422), answer
        return answer.status

    await asyncio.gather(*map(post, range(60)))

    for customer in bank.customers:
        assert (await show(clients[0], bank, customer))["balance"] == 10
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
