"""A fence and a request under the same key at the same time: one of them wins, and both callers are told the same."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import cycle
from uuid import uuid4

import pytest

from tests.concurrency.races import LEADS_SECONDS, RACES, with_lead
from tests.support.bank import Bank, open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.orders import AccountOrder, AnyOrder
from tests.support.socket_client import Answer, Client

OPERATIONS = ["post_transfer", "open_hold", "capture_hold", "void_hold", "reverse_transfer", "create_account"]

_Call = tuple[Callable[[Client, AnyOrder], Awaitable[Answer]], Client]


async def _orders(operation: str, bank: Bank, client: Client, journal: Journal, dice: random.Random) -> list[AnyOrder]:
    """Return RACES orders of ``operation``, each of which would be applied."""
    if operation == "create_account":
        return [AccountOrder(bank.ledger, str(uuid4())) for _ in range(RACES)]
    pairs = [dice.sample(bank.customers, 2) for _ in range(RACES)]
    transfers: list[AnyOrder] = [bank.order(debit, credit, 5) for debit, credit in pairs]
    if operation == "post_transfer":
        return transfers
    holds: list[AnyOrder] = [bank.hold(debit, credit, 5) for debit, credit in pairs]
    if operation == "open_hold":
        return holds
    before = transfers if operation == "reverse_transfer" else holds
    await journal.post_all([client], before)
    made = [journal.content(order)["id"] for order in before]
    make: dict[str, Callable[[str], AnyOrder]] = {
        "capture_hold": bank.capture, "void_hold": bank.void, "reverse_transfer": bank.reversal,
    }  # fmt: skip
    return list(map(make[operation], made))


def _key_path(order: AnyOrder) -> str:
    return f"/v1/ledgers/{order.ledger}/idempotency-keys/{order.key}"


async def _send(client: Client, order: AnyOrder) -> Answer:
    return await client.call("POST", order.path, order.body, key=order.key)


async def _fence(client: Client, order: AnyOrder) -> Answer:
    return await client.call("POST", f"{_key_path(order)}/fence")


async def _race(clients: tuple[Client, Client], order: AnyOrder, lead_seconds: float) -> str:
    """Send ``order`` and fence its key, each through both processes; return what became of the key."""
    sends: list[_Call] = [(_send, client) for client in clients]
    fences: list[_Call] = [(_fence, client) for client in clients]

    async def start(calls: list[_Call]) -> list[Answer]:
        return await asyncio.gather(*(call(client, order) for call, client in calls))

    sent, seen = await with_lead(lead_seconds, start(sends), start(fences))

    shown = seen[0].content
    outcome = str(shown["outcome"])
    if outcome == "applied":
        assert {answer.status for answer in sent} <= {200, 201}
        assert [answer.replayed for answer in sent].count(False) == 1
        assert sent[0].content == sent[1].content
        [resource] = [shown[name] for name in ("transfer", "hold", "account") if name in shown]
        assert resource == sent[0].content
        assert shown["operation"] == order.operation
    else:
        assert outcome == "fenced"
        for answer in sent:
            assert (answer.status, answer.content["code"]) == (409, "key_fenced")
            assert (answer.content["outcome"], answer.content["retryable"]) == ("not_applied", False)
    for client in clients:
        again, later, key = await _send(client, order), await _fence(client, order), await _see(client, order)
        assert (again.status, again.content) == (sent[0].status, sent[0].content)
        assert [later.content, key.content, *(answer.content for answer in seen)] == [shown] * 4
        assert {later.status, key.status, *(answer.status for answer in seen)} == {200}
    return outcome


async def _see(client: Client, order: AnyOrder) -> Answer:
    return await client.call("GET", _key_path(order))


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_key_is_used_or_fenced(
    operation: str, clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    dice = random.Random(operation)
    bank = await open_bank(clients[0], journal, customers=3)
    orders = await _orders(operation, bank, clients[0], journal, dice)

    races = (_race(clients, order, lead) for order, lead in zip(orders, LEADS_SECONDS, strict=True))
    outcomes = Counter(await asyncio.gather(*races))

    assert outcomes.keys() == {"applied", "fenced"}, "each side must have won some"
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)


async def test_a_fence_keeps_out_the_whole_group(
    clients: tuple[Client, Client], journal: Journal, shared_database_url: str
) -> None:
    """The fence is on the key of one command: the whole group is applied, or the whole group is rejected."""
    bank = await open_bank(clients[0], journal, customers=3)
    a, b, c = bank.customers

    async def race(first: Client, second: Client, lead_seconds: float) -> str:
        orders = [bank.order(a, b, 1), bank.order(b, c, 1)]
        items = [order.body | {"idempotency_key": order.key, "group": "chain"} for order in orders]
        batch, fence = await with_lead(
            lead_seconds, first.call("POST", f"{orders[0].path}/batch", {"transfers": items}), _fence(second, orders[1])
        )
        codes = [result.get("problem", {}).get("code") for result in batch.content["results"]]
        assert fence.status == 200
        if fence.content["outcome"] == "applied":
            assert (batch.status, codes) == (201, [None, None])
            assert fence.content["transfer"] == batch.content["results"][1]["transfer"]
        else:
            assert fence.content["outcome"] == "fenced"
            assert (batch.status, codes) == (207, ["batch_rejected", "key_fenced"])
        return str(fence.content["outcome"])

    sides = zip(cycle(clients), cycle(clients[::-1]), LEADS_SECONDS, strict=False)
    outcomes = Counter(await asyncio.gather(*(race(*side) for side in sides)))

    assert outcomes.keys() == {"applied", "fenced"}, "each side must have won some"
    account = (await clients[0].call("GET", f"/v1/ledgers/{bank.ledger}/accounts/{c}")).content
    assert account["balance"] == 1_000 + outcomes["applied"]
    await assert_ledger_is_sound(shared_database_url, ledgers=[bank.ledger], bounds_were_constant=True)
