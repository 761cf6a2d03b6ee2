"""States and bounds of accounts with holds: a release is not a movement, and what is held is used."""

import pytest

from tests.api.conftest import Application
from tests.api.ledger import JSON, Book, item, problem
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


async def _set(book: Book, account: JSON, status: str) -> None:
    response = await book.revise(account, status=status)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("side", ["payer", "payee"])
async def test_a_frozen_account_takes_no_new_movement(book: Book, payer: JSON, payee: JSON, side: str) -> None:
    hold, posted = await open_hold(book, payer, payee, 10), await book.move(payer, payee, 10)
    account = payer if side == "payer" else payee
    await _set(book, account, "frozen")
    before = await book.read_account(account)
    for response in (
        await book.post(payer, payee),
        await book.post(payee, payer),
        await book.post(payer, payee, amount={"at_most": 1}),
        await post_hold(book, payer, payee),
        await post_hold(book, payee, payer),
        await post_capture(book, hold, amount=1, final=False),
        await post_reversal(book, posted),
    ):
        assert problem(response, 409, "account_frozen")["account_id"] == account["id"]
    batch = (await book.batch(item(payer, payee), item(payer, payee, hold={}))).json()
    assert [result["problem"]["code"] for result in batch["results"]] == ["account_frozen"] * 2
    assert await book.read_account(account) == before


@pytest.mark.parametrize("end", ["voided", "expired"])
async def test_holds_of_a_frozen_account_are_freed(
    application: Application, book: Book, payer: JSON, payee: JSON, end: str
) -> None:
    hold = await open_hold(book, payer, payee, 10)
    await _set(book, payer, "frozen")
    await _set(book, payee, "frozen")
    if end == "voided":
        await void(book, hold)
    else:
        await expire(book, application.database, hold)
    assert (await freed(book, hold))["status"] == end
    assert held(await book.read_account(payer)) == (100, 100, 0, 0)
    assert held(await book.read_account(payee)) == (0, 0, 0, 0)


async def test_a_hold_outlasts_a_freeze(book: Book, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(book, payer, payee, 10)
    await _set(book, payer, "frozen")
    problem(await post_capture(book, hold), 409, "account_frozen")
    await _set(book, payer, "open")
    await capture(book, hold)


@pytest.mark.parametrize("side", ["debit", "credit"])
async def test_an_account_with_a_hold_is_not_closed(book: Book, payee: JSON, side: str) -> None:
    account = await book.account()
    pair = (account, payee) if side == "debit" else (payee, account)
    hold = await open_hold(book, *pair, 10)
    refused = problem(await book.revise(account, status="closed"), 409, "account_not_empty")
    numbers = {"balance": 0, "debits_held": 10 * (side == "debit"), "credits_held": 10 * (side == "credit")}
    assert refused | numbers | {"account_id": account["id"]} == refused
    await void(book, hold)
    await _set(book, account, "closed")
    for one, other in ((account, payee), (payee, account)):
        assert problem(await post_hold(book, one, other), 409, "account_closed")["account_id"] == account["id"]


async def test_a_minimum_is_not_raised_above_what_holds_leave(book: Book, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(book, payer, payee, 30)
    refused = problem(await book.revise(payer, minimum_balance=71), 422, "insufficient_funds")
    numbers = {"balance": 100, "held": 30, "available_balance": 70, "minimum_balance": 71, "amount": 0, "shortfall": 1}
    assert refused | numbers | {"account_id": payer["id"]} == refused
    assert (await book.revise(payer, minimum_balance=70)).status_code == 200
    problem(await post_hold(book, payer, payee), 422, "insufficient_funds")
    assert (await capture(book, hold))["debit_balance_after"] == 70


async def test_a_maximum_is_not_lowered_below_the_balance(book: Book, payer: JSON, payee: JSON) -> None:
    """What is held is part of the balance; what may come is not."""
    await open_hold(book, payer, payee, 30)
    await open_hold(book, await book.account(), payer, 30)
    refused = problem(await book.revise(payer, maximum_balance=99), 422, "balance_limit_exceeded")
    assert refused | {"balance": 100, "maximum_balance": 99, "excess": 1, "account_id": payer["id"]} == refused
    assert (await book.revise(payer, maximum_balance=100)).status_code == 200


async def test_room_that_is_made_is_used_at_once(book: Book, payee: JSON) -> None:
    payer = await funded(book, 0)
    problem(await post_hold(book, payer, payee, amount=50), 422, "insufficient_funds")
    assert (await book.revise(payer, minimum_balance=-50)).status_code == 200
    await capture(book, await open_hold(book, payer, payee, 50))
    refused = problem(await book.revise(payer, minimum_balance=-49), 422, "insufficient_funds")
    assert (refused["available_balance"], refused["shortfall"]) == (-50, 1)


async def test_holds_leave_the_tag_as_it_is(book: Book, payer: JSON, payee: JSON) -> None:
    tag = (await book.client.get(f"{book.accounts}/{payer['id']}")).headers["ETag"]
    await capture(book, await open_hold(book, payer, payee))
    assert (await book.revise(payer, tag, name="later")).status_code == 200
    problem(await book.revise(payer, tag, name="too late"), 412, "version_mismatch")
