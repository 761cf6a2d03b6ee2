"""Reversals: a transfer moved back, whole or in parts, never more than it was, and once only."""

import pytest

from tests.api.moves import capture, funded, held, open_hold, post_reversal, read_hold, reverse
from tests.api.parties import Parties
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, pointers, problem, unique


async def test_a_reversal_is_a_transfer_the_other_way(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    posted = await ledger.move(payer, payee, 30, reference="of the transfer")
    response = await post_reversal(ledger, posted)
    assert response.status_code == 201
    reversal = answer(response)
    assert response.headers["Location"] == f"{ledger.transfers}/{reversal['id']}"
    assert answer(await ledger.client.get(response.headers["Location"])) == reversal
    assert reversal == reversal | {
        "reverses_id": posted["id"],
        "debit_account_id": payee["id"],
        "credit_account_id": payer["id"],
        "amount": 30,
        "currency": "USD",
        "debit_balance_after": 0,
        "credit_balance_after": 100,
        "reference": None,
        "hold_id": None,
    }
    assert answer(await ledger.client.get(f"{ledger.transfers}/{posted['id']}")) == posted, "transfers never change"
    assert (await ledger.read_account(payer))["balance"] == 100


async def test_parts_come_back_until_nothing_is_left(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    posted = await ledger.move(payer, payee, 30)
    members = {"reference": "r", "description": "d", "metadata": {"k": "v"}}
    parts = [await reverse(ledger, posted, amount=5, **members), await reverse(ledger, posted, amount=10)]
    assert parts[0] == parts[0] | members
    parts.append(await reverse(ledger, posted))
    assert [part["amount"] for part in parts] == [5, 10, 15]
    refused = problem(await post_reversal(ledger, posted), 409, "already_reversed")
    assert refused | {"transfer_id": posted["id"], "reversed_amount": 30} == refused
    problem(await post_reversal(ledger, posted, amount=1), 409, "already_reversed")
    listed = answer(await ledger.client.get(f"{ledger.transfers}?reverses_id={posted['id']}"))["items"]
    assert listed == parts[::-1]


async def test_no_more_comes_back_than_there_was(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    posted = await ledger.move(payer, payee, 30)
    await reverse(ledger, posted, amount=12)
    refused = problem(await post_reversal(ledger, posted, amount=19), 422, "reversal_exceeds_transfer")
    explanation = {
        "transfer_id": posted["id"],
        "transfer_amount": 30,
        "reversed_amount": 12,
        "amount": 19,
        "excess": 1,
    }
    assert refused | explanation == refused
    assert (await reverse(ledger, posted, amount=18))["amount"] == 18


async def test_a_reversal_is_final(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """Money that was reversed is paid again only by a new transfer."""
    posted = await ledger.move(payer, payee, 30)
    reversal = await reverse(ledger, posted, amount=10)
    refused = problem(await post_reversal(ledger, reversal), 409, "reversal_not_reversible")
    assert refused | {"transfer_id": reversal["id"], "reverses_id": posted["id"]} == refused
    assert (await reverse(ledger, posted))["amount"] == 20


async def test_a_capture_is_reversed_and_its_hold_stays_as_it_is(
    ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    part = await capture(ledger, hold, amount=10, final=False)
    before = await read_hold(ledger, hold)
    reversal = await reverse(ledger, part)
    assert (reversal["reverses_id"], reversal["hold_id"]) == (part["id"], None)
    assert await read_hold(ledger, hold) == before
    assert held(await ledger.read_account(payer)) == (100, 80, 20, 0)
    await capture(ledger, hold)
    problem(await post_reversal(ledger, part), 409, "already_reversed")


async def test_money_that_was_spent_does_not_come_back(ledger: LedgerClient, payer: JSON) -> None:
    """The minimum of the account that pays back is kept, and so is what holds reserve there."""
    payee, shop = await funded(ledger, 0), await ledger.account()
    posted = await ledger.move(payer, payee, 30)
    await ledger.move(payee, shop, 10)
    await open_hold(ledger, payee, shop, 5)
    refused = problem(await post_reversal(ledger, posted), 422, "insufficient_funds")
    explanation = {"account_id": payee["id"], "balance": 20, "held": 5, "available_balance": 15, "shortfall": 15}
    assert refused | explanation == refused
    assert (await reverse(ledger, posted, amount=15))["amount"] == 15


async def test_a_maximum_holds_against_money_that_comes_back(ledger: LedgerClient, payee: JSON) -> None:
    payer = await funded(ledger, 50, maximum_balance=50)
    posted = await ledger.move(payer, payee, 50)
    await ledger.move(await ledger.account(), payer, 1)
    refused = problem(await post_reversal(ledger, posted), 422, "balance_limit_exceeded")
    assert (refused["account_id"], refused["excess"]) == (payer["id"], 1)
    await reverse(ledger, posted, amount=49)


@pytest.mark.parametrize("side", ["payer", "payee"])
async def test_a_frozen_account_is_not_reversed(ledger: LedgerClient, payer: JSON, payee: JSON, side: str) -> None:
    posted = await ledger.move(payer, payee, 30)
    account = payer if side == "payer" else payee
    await ledger.revise(account, status="frozen")
    assert problem(await post_reversal(ledger, posted), 409, "account_frozen")["account_id"] == account["id"]
    await ledger.revise(account, status="open")
    await reverse(ledger, posted)


async def test_a_closed_account_is_not_reversed(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    posted = await ledger.move(payer, payee, 100)
    await ledger.revise(payer, status="closed")
    assert problem(await post_reversal(ledger, posted), 409, "account_closed")["account_id"] == payer["id"]


async def test_the_first_broken_rule_is_named(ledger: LedgerClient, payer: JSON) -> None:
    """Each request breaks its rule and every rule after it."""
    payee = await funded(ledger, 0)
    posted, reversed_whole = await ledger.move(payer, payee, 30), await ledger.move(payer, payee, 1)
    await reverse(ledger, reversed_whole)
    await ledger.move(payee, payer, 30)
    await ledger.revise(payee, status="frozen")
    wrong: JSON = {"amount": 31, "effective_at": "2001-01-01T00:00:00Z"}
    problem(await post_reversal(ledger, reversed_whole, **wrong), 409, "already_reversed")
    problem(await post_reversal(ledger, posted, **wrong), 422, "reversal_exceeds_transfer")
    problem(await post_reversal(ledger, posted, **wrong | {"amount": 30}), 409, "account_frozen")
    await ledger.revise(payee, status="open")
    refused = problem(await post_reversal(ledger, posted, **wrong | {"amount": 30}), 422, "time_out_of_range")
    assert refused["field"] == "effective_at"
    problem(await post_reversal(ledger, posted), 422, "insufficient_funds")


async def test_a_transfer_is_found_in_its_own_ledger_only(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    posted = await ledger.move(payer, payee)
    other = await LedgerClient.open(ledger.client, unique("other"))
    for elsewhere, missing in ((other, posted), (ledger, await Parties(ledger).unknown())):
        refused = problem(await post_reversal(elsewhere, missing), 404, "transfer_not_found")
        assert refused["transfer_id"] == missing["id"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [(b'{"amount": 0}', "/amount"), (b'{"amount": {"at_most": 1}}', "/amount"), (b'{"currency": 1}', "/currency")],
)
async def test_a_malformed_reversal(ledger: LedgerClient, payer: JSON, payee: JSON, body: bytes, pointer: str) -> None:
    posted = await ledger.move(payer, payee)
    path = f"{ledger.transfers}/{posted['id']}/reversals"
    assert pointers(await ledger.client.post(path, content=body, headers=keyed())) == [pointer]
