"""Rejections stay and explain themselves: what was rejected, for whom, why, and the terms of the request."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.api.conftest import MakeClient
from tests.api.moves import fence, funded, key_path, open_hold, post_capture, post_hold, post_reversal, post_void, void
from tests.api.parties import Parties
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers, problem, transfer, unique


async def _decisions(ledger: LedgerClient, **query: Any) -> list[JSON]:
    """Read the whole list of rejections, two a page."""
    found: list[JSON] = []
    path: str | None = str(httpx.URL(f"{ledger.path}/decisions", params=query | {"limit": 2}))
    while path is not None:
        response = await ledger.client.get(path)
        assert response.status_code == 200, response.text
        found += answer(response)["items"]
        path = response.links["next"]["url"] if "next" in response.links else None
    return found


async def test_why_a_payment_was_declined(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """A rejection says what the account had, held and needed, which rule rejected, and the terms of the request."""
    await open_hold(ledger, payer, payee, 30)
    asked = {"amount": 71, "reference": "rent", "description": "for May", "metadata": {"channel": "app"}}
    refused = problem(await ledger.post(payer, payee, "key", **asked), 422, "insufficient_funds")
    await ledger.move(await ledger.account(), payer, 1_000)
    [decision] = await _decisions(ledger, account_id=payer["id"], outcome="rejected")
    shown = decision["problem"]
    assert shown == refused | {"instance": key_path(ledger, "key")}
    numbers = {"balance": 100, "held": 30, "available_balance": 70, "minimum_balance": 0, "amount": 71, "shortfall": 1}
    assert shown | numbers | {"account_id": payer["id"]} == shown
    assert decision == {
        "client": "admin",
        "idempotency_key": "key",
        "operation": "post_transfer",
        "outcome": "rejected",
        "debit_account_id": payer["id"],
        "credit_account_id": payee["id"],
        "terms": asked
        | {"debit_account_id": payer["id"], "credit_account_id": payee["id"], "currency": "USD", "at_most": False},
        "problem": shown,
        "decided_at": decision["decided_at"],
    }


Refuse = Callable[[LedgerClient, JSON, JSON], Awaitable[tuple[httpx.Response, JSON]]]


async def _transfer_for(ledger: LedgerClient, payer: JSON, payee: JSON) -> tuple[httpx.Response, JSON]:
    asked: JSON = {"amount": {"at_most": 5}, "effective_at": "2001-01-01T00:00:00Z"}
    return await ledger.post(payer, payee, "key", **asked), asked | {"amount": 5, "at_most": True}


async def _hold_for(ledger: LedgerClient, payer: JSON, payee: JSON) -> tuple[httpx.Response, JSON]:
    asked: JSON = {"amount": 101, "expires_in_seconds": 60}
    return await post_hold(ledger, payer, payee, "key", **asked), asked


async def _capture_for(ledger: LedgerClient, payer: JSON, payee: JSON) -> tuple[httpx.Response, JSON]:
    hold = await open_hold(ledger, payer, payee, 10)
    return await post_capture(ledger, hold, "key", amount=11, final=False), {
        "hold_id": hold["id"],
        "amount": 11,
        "final": False,
    }


async def _void_for(ledger: LedgerClient, payer: JSON, payee: JSON) -> tuple[httpx.Response, JSON]:
    hold = await open_hold(ledger, payer, payee, 10)
    await void(ledger, hold)
    return await post_void(ledger, hold, "key"), {"hold_id": hold["id"]}


async def _reversal_for(ledger: LedgerClient, payer: JSON, payee: JSON) -> tuple[httpx.Response, JSON]:
    posted = await ledger.move(payee, payer, 10)
    return await post_reversal(ledger, posted, "key", amount=11), {"transfer_id": posted["id"], "amount": 11}


@pytest.mark.parametrize(
    ("operation", "refuse"),
    [
        ("post_transfer", _transfer_for),
        ("open_hold", _hold_for),
        ("capture_hold", _capture_for),
        ("void_hold", _void_for),
        ("reverse_transfer", _reversal_for),
    ],
)
async def test_rejections_of_every_operation_are_found_by_either_account(
    ledger: LedgerClient, payer: JSON, payee: JSON, operation: str, refuse: Refuse
) -> None:
    refused, asked = await refuse(ledger, payer, payee)
    assert refused.status_code >= 400
    for query in ({}, {"account_id": payer["id"]}, {"account_id": payee["id"]}):
        [decision] = await _decisions(ledger, **query)
        assert (decision["operation"], decision["idempotency_key"]) == (operation, "key")
        assert (decision["debit_account_id"], decision["credit_account_id"]) == (payer["id"], payee["id"])
        assert decision["problem"]["code"] == answer(refused)["code"]
        assert decision["terms"] | asked == decision["terms"]
    assert await _decisions(ledger, account_id=(await ledger.account())["id"]) == []


async def test_what_is_not_there_is_named_in_the_terms(ledger: LedgerClient) -> None:
    """A rejection that names an unknown hold or transfer has no accounts, so no filter by account finds it."""
    missing = await Parties(ledger).unknown()
    await post_capture(ledger, missing)
    await post_reversal(ledger, missing)
    reversal, capture = await _decisions(ledger)
    assert (reversal["terms"]["transfer_id"], capture["terms"]["hold_id"]) == (missing["id"], missing["id"])
    for decision in (reversal, capture):
        assert (decision["debit_account_id"], decision["credit_account_id"]) == (None, None)


async def test_an_account_that_could_not_be_opened(ledger: LedgerClient) -> None:
    await ledger.client.post(ledger.accounts, json={"currency": "XXX"}, headers=keyed("key"))
    [decision] = await _decisions(ledger)
    assert (decision["operation"], decision["problem"]["code"]) == ("create_account", "currency_unknown")


async def test_a_whole_batch_is_explained(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """The item that was rejected has its numbers, the others name it."""
    items = [item(payer, payee, "a"), item(payer, payee, "b", amount=100), item(payer, payee, "c")]
    problem(await ledger.batch(*items, mode="atomic"), 422, "batch_rejected")
    decisions = {decision["idempotency_key"]: decision["problem"] for decision in await _decisions(ledger)}
    assert decisions.keys() == {"a", "b", "c"}
    assert (decisions["b"]["code"], decisions["b"]["shortfall"]) == ("insufficient_funds", 1)
    for key in ("a", "c"):
        explanation = {
            "code": "batch_rejected",
            "refused_idempotency_key": "b",
            "refused_code": "insufficient_funds",
        }
        assert decisions[key] | explanation == decisions[key]


async def test_the_newest_comes_first_and_times_narrow(ledger: LedgerClient, payer: JSON) -> None:
    payee, other = await funded(ledger, 0), await ledger.account()
    for number in range(5):
        pair = (payer, payee) if number % 2 else (payee, other)
        await ledger.post(*pair, f"{number}", amount=101)
    decisions = await _decisions(ledger)
    assert [one["idempotency_key"] for one in decisions] == ["4", "3", "2", "1", "0"]
    assert await _decisions(ledger, account_id=payee["id"]) == decisions
    assert await _decisions(ledger, account_id=payer["id"]) == decisions[1::2]
    times = [one["decided_at"] for one in decisions]
    assert await _decisions(ledger, created_from=times[2]) == decisions[:3]
    assert await _decisions(ledger, created_to=times[2]) == decisions[3:]
    assert await _decisions(ledger, created_from=times[3], created_to=times[1], account_id=payer["id"]) == [
        decisions[3]
    ]


async def test_rejections_of_one_moment_are_told_apart_by_their_keys(ledger: LedgerClient, payee: JSON) -> None:
    poor = await funded(ledger, 0)
    await ledger.batch(*(item(poor, payee, f"{number}") for number in range(5)))
    decisions = await _decisions(ledger, account_id=poor["id"])
    assert len({one["decided_at"] for one in decisions}) == 1
    assert [one["idempotency_key"] for one in decisions] == ["4", "3", "2", "1", "0"]


async def test_fences_are_listed_by_themselves(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    await ledger.post(payer, payee, amount=101)
    await fence(ledger, "fenced")
    await ledger.post(payer, payee, "fenced")
    [decision] = await _decisions(ledger, outcome="fenced")
    assert decision == decision | {
        "idempotency_key": "fenced",
        "operation": "fence_key",
        "outcome": "fenced",
        "problem": None,
        "terms": None,
    }
    assert [one["outcome"] for one in await _decisions(ledger)] == ["rejected"]


async def test_the_rejections_of_every_client_are_seen(
    ledger: LedgerClient, payer: JSON, payee: JSON, make_client: MakeClient
) -> None:
    name = unique("teller")
    teller = ledger.seen_by(await make_client("transfers:write", name=name))
    await teller.post(payer, payee, "key", amount=101)
    await ledger.post(payer, payee, "key", amount=102)
    assert [(one["client"], one["terms"]["amount"]) for one in await _decisions(ledger)] == [
        ("admin", 102),
        (name, 101),
    ]


async def test_what_is_no_decision_is_not_listed(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """Not listed: what was applied, what was malformed, a key that was taken, a rejection of another ledger."""
    await ledger.move(payer, payee, key="key")
    problem(await ledger.post(payer, payee, "key", amount=2), 422, "idempotency_key_reused")
    await ledger.client.post(ledger.transfers, json=transfer(payer, payee, amount=0), headers=keyed())
    await fence(ledger, "fenced")
    problem(await ledger.post(payer, payee, "fenced"), 409, "key_fenced")
    other = await LedgerClient.open(ledger.client, unique("other"))
    await other.post(payer, payee)
    assert await _decisions(ledger) == []
    assert len(await _decisions(other)) == 1


@pytest.mark.parametrize("query", ["outcome=applied", "outcome=", "account_id=1", "created_from=yesterday"])
async def test_a_wrong_filter(ledger: LedgerClient, query: str) -> None:
    name = query.partition("=")[0]
    assert pointers(await ledger.client.get(f"{ledger.path}/decisions?{query}")) == [f"/query/{name}"]


async def test_keys_of_any_characters_are_led_to(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    await ledger.post(payer, payee, "a/b?c", amount=101)
    [decision] = await _decisions(ledger)
    instance = decision["problem"]["instance"]
    assert instance == f"{ledger.path}/idempotency-keys/{quote('a/b?c', safe='')}"
    assert answer(await ledger.client.get(instance))["problem"] == decision["problem"]
