"""States and bounds of accounts with holds: freeing a hold moves nothing, and what is held counts as used."""

import pytest

from tests.api.moves import (
    capture,
    expire,
    freed,
    funded,
    held,
    open_hold,
    post_capture,
    post_hold,
    post_reversal,
    void,
)
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, item, problem


async def _set(ledger: LedgerClient, account: JSON, status: str) -> None:
    response = await ledger.revise(account, status=status)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("side", ["payer", "payee"])
async def test_a_frozen_account_takes_no_new_movement(
    ledger: LedgerClient, payer: JSON, payee: JSON, side: str
) -> None:
    hold, posted = await open_hold(ledger, payer, payee, 10), await ledger.move(payer, payee, 10)
    account = payer if side == "payer" else payee
    await _set(ledger, account, "frozen")
    before = await ledger.read_account(account)
    for response in (
        await ledger.post(payer, payee),
        await ledger.post(payee, payer),
        await ledger.post(payer, payee, amount={"at_most": 1}),
        await post_hold(ledger, payer, payee),
        await post_hold(ledger, payee, payer),
        await post_capture(ledger, hold, amount=1, final=False),
        await post_reversal(ledger, posted),
    ):
        assert problem(response, 409, "account_frozen")["account_id"] == account["id"]
    batch = (await ledger.batch(item(payer, payee), item(payer, payee, hold={}))).json()
    assert [result["problem"]["code"] for result in batch["results"]] == ["account_frozen"] * 2
    assert await ledger.read_account(account) == before


@pytest.mark.parametrize("end", ["voided", "expired"])
async def test_holds_of_a_frozen_account_are_freed(
    application: Application, ledger: LedgerClient, payer: JSON, payee: JSON, end: str
) -> None:
    hold = await open_hold(ledger, payer, payee, 10)
    await _set(ledger, payer, "frozen")
    await _set(ledger, payee, "frozen")
    if end == "voided":
        await void(ledger, hold)
    else:
        await expire(ledger, application.database, hold)
    assert (await freed(ledger, hold))["status"] == end
    assert held(await ledger.read_account(payer)) == (100, 100, 0, 0)
    assert held(await ledger.read_account(payee)) == (0, 0, 0, 0)


async def test_a_hold_outlasts_a_freeze(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 10)
    await _set(ledger, payer, "frozen")
    problem(await post_capture(ledger, hold), 409, "account_frozen")
    await _set(ledger, payer, "open")
    await capture(ledger, hold)


@pytest.mark.parametrize("side", ["debit", "credit"])
async def test_an_account_with_a_hold_is_not_closed(ledger: LedgerClient, payee: JSON, side: str) -> None:
    account = await ledger.account()
    pair = (account, payee) if side == "debit" else (payee, account)
    hold = await open_hold(ledger, *pair, 10)
    refused = problem(await ledger.revise(account, status="closed"), 409, "account_not_empty")
    numbers = {"balance": 0, "debits_held": 10 * (side == "debit"), "credits_held": 10 * (side == "credit")}
    assert refused | numbers | {"account_id": account["id"]} == refused
    await void(ledger, hold)
    await _set(ledger, account, "closed")
    for one, other in ((account, payee), (payee, account)):
        assert problem(await post_hold(ledger, one, other), 409, "account_closed")["account_id"] == account["id"]


async def test_a_minimum_is_not_raised_above_what_holds_leave(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    refused = problem(await ledger.revise(payer, minimum_balance=71), 422, "insufficient_funds")
    numbers = {"balance": 100, "held": 30, "available_balance": 70, "minimum_balance": 71, "amount": 0, "shortfall": 1}
    assert refused | numbers | {"account_id": payer["id"]} == refused
    assert (await ledger.revise(payer, minimum_balance=70)).status_code == 200
    problem(await post_hold(ledger, payer, payee), 422, "insufficient_funds")
    assert (await capture(ledger, hold))["debit_balance_after"] == 70


async def test_a_maximum_is_not_lowered_below_the_balance(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """Money that is held on the debit side is part of the balance; money that a hold may bring is not."""
    await open_hold(ledger, payer, payee, 30)
    await open_hold(ledger, await ledger.account(), payer, 30)
    refused = problem(await ledger.revise(payer, maximum_balance=99), 422, "balance_limit_exceeded")
    assert refused | {"balance": 100, "maximum_balance": 99, "excess": 1, "account_id": payer["id"]} == refused
    assert (await ledger.revise(payer, maximum_balance=100)).status_code == 200


async def test_room_that_is_made_is_used_at_once(ledger: LedgerClient, payee: JSON) -> None:
    payer = await funded(ledger, 0)
    problem(await post_hold(ledger, payer, payee, amount=50), 422, "insufficient_funds")
    assert (await ledger.revise(payer, minimum_balance=-50)).status_code == 200
    await capture(ledger, await open_hold(ledger, payer, payee, 50))
    refused = problem(await ledger.revise(payer, minimum_balance=-49), 422, "insufficient_funds")
    assert (refused["available_balance"], refused["shortfall"]) == (-50, 1)


async def test_holds_leave_the_tag_as_it_is(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    tag = (await ledger.client.get(f"{ledger.accounts}/{payer['id']}")).headers["ETag"]
    await capture(ledger, await open_hold(ledger, payer, payee))
    assert (await ledger.revise(payer, tag, name="later")).status_code == 200
    problem(await ledger.revise(payer, tag, name="too late"), 412, "version_mismatch")
