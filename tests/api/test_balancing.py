"""Balancing amounts: what is available, up to a limit and at least 1."""

from typing import Any

import pytest

from tests.api.moves import funded, held, open_hold
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers, problem, transfer

EVERYTHING = {"at_most": 2**63 - 1}


async def _sweep(ledger: LedgerClient, debit: JSON, credit: JSON, **members: Any) -> JSON:
    return await ledger.move(debit, credit, **({"amount": EVERYTHING} | members))


@pytest.mark.parametrize(("at_most", "moved"), [(1, 1), (99, 99), (100, 100), (101, 100), (2**63 - 1, 100)])
async def test_what_is_available_moves(
    ledger: LedgerClient, payer: JSON, payee: JSON, at_most: int, moved: int
) -> None:
    posted = await _sweep(ledger, payer, payee, amount={"at_most": at_most})
    assert (posted["amount"], posted["debit_balance_after"]) == (moved, 100 - moved)
    assert answer(await ledger.client.get(f"{ledger.transfers}/{posted['id']}")) == posted


@pytest.mark.parametrize(("minimum", "moved"), [(-50, 150), (0, 100), (99, 1)])
async def test_a_sweep_goes_down_to_the_minimum(ledger: LedgerClient, payee: JSON, minimum: int, moved: int) -> None:
    payer = await funded(ledger, 100, minimum_balance=None)
    await ledger.revise(payer, minimum_balance=minimum)
    assert (await _sweep(ledger, payer, payee))["amount"] == moved


async def test_what_is_held_stays(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    await open_hold(ledger, payer, payee, 30)
    assert (await _sweep(ledger, payer, payee))["amount"] == 70
    assert held(await ledger.read_account(payer)) == (30, 0, 30, 0)


async def test_without_a_minimum_all_that_is_asked_for_is_available(ledger: LedgerClient, payee: JSON) -> None:
    assert (await _sweep(ledger, await ledger.account(), payee, amount={"at_most": 7}))["amount"] == 7


async def test_a_debit_normal_account_gives_when_it_is_credited(ledger: LedgerClient) -> None:
    cash, customer = await ledger.account(normal_side="debit", minimum_balance=0), await ledger.account()
    await ledger.move(cash, customer, 40)
    assert (await _sweep(ledger, customer, cash))["amount"] == 40


async def test_the_poorer_side_decides(ledger: LedgerClient) -> None:
    cash, customer = await ledger.account(normal_side="debit", minimum_balance=0), await funded(ledger, 25)
    await ledger.move(cash, await ledger.account(), 40)
    assert (await _sweep(ledger, customer, cash))["amount"] == 25


@pytest.mark.parametrize("held_amount", [0, 100])
async def test_where_nothing_is_available_one_is_missing(ledger: LedgerClient, payee: JSON, held_amount: int) -> None:
    payer = await funded(ledger, held_amount)
    if held_amount:
        await open_hold(ledger, payer, payee, held_amount)
    refused = problem(await ledger.post(payer, payee, amount=EVERYTHING), 422, "insufficient_funds")
    explanation = {
        "account_id": payer["id"],
        "balance": held_amount,
        "held": held_amount,
        "available_balance": 0,
        "minimum_balance": 0,
        "amount": 1,
        "shortfall": 1,
    }
    assert refused | explanation == refused


async def test_a_maximum_is_no_limit_to_ask_for(ledger: LedgerClient, payer: JSON) -> None:
    """It adapts to the debit account and not to the credit account: a sweep into too small an account is rejected."""
    refused = problem(
        await ledger.post(payer, await ledger.account(maximum_balance=60), amount=EVERYTHING),
        422,
        "balance_limit_exceeded",
    )
    assert (refused["amount"], refused["excess"]) == (100, 40)


async def test_the_amount_replays_as_it_was(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    first = await ledger.post(payer, payee, key="sweep", amount=EVERYTHING)
    await ledger.move(await ledger.account(), payer, 5)
    again = await ledger.post(payer, payee, key="sweep", amount=EVERYTHING)
    assert answer(again) == answer(first)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert (await ledger.read_account(payer))["balance"] == 5


@pytest.mark.parametrize(
    ("first", "other"), [({"at_most": 5}, 5), (5, {"at_most": 5}), ({"at_most": 5}, {"at_most": 6})]
)
async def test_an_amount_of_another_kind_is_another_request(
    ledger: LedgerClient, payer: JSON, payee: JSON, first: object, other: object
) -> None:
    assert (await ledger.post(payer, payee, key="sweep", amount=first)).status_code == 201
    problem(await ledger.post(payer, payee, key="sweep", amount=other), 422, "idempotency_key_reused")


async def test_an_account_is_closed_out_in_one_batch(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """Interest arrives, and the whole balance is transferred, whatever it is at that time."""
    batch = await ledger.batch(
        item(await ledger.account(), payer, amount=3), item(payer, payee, amount=EVERYTHING), mode="atomic"
    )
    assert [result["transfer"]["amount"] for result in answer(batch)["results"]] == [3, 103]
    assert (await ledger.revise(payer, status="closed")).status_code == 200


@pytest.mark.parametrize(
    "amount",
    [
        {},
        {"at_most": 0},
        {"at_most": -1},
        {"at_most": 2**63},
        {"at_most": "1"},
        {"at_least": 1},
        {"at_most": 1, "x": 1},
    ],
)
async def test_a_malformed_amount(ledger: LedgerClient, payer: JSON, payee: JSON, amount: JSON) -> None:
    response = await ledger.client.post(ledger.transfers, json=transfer(payer, payee, amount=amount), headers=keyed())
    assert all(pointer.startswith("/amount") for pointer in pointers(response))
