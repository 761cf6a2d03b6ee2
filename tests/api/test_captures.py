"""Captures and voids: the two ways in which callers end a hold."""

from typing import Any

import pytest

from tests.api.moves import (
    capture,
    held,
    open_hold,
    post_capture,
    post_void,
    read_hold,
    void,
)
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, pointers, problem


async def test_a_capture_posts_all_of_a_hold(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30, reference="of the hold")
    response = await post_capture(ledger, hold)
    assert response.status_code == 201
    posted = answer(response)
    assert response.headers["Location"] == f"{ledger.transfers}/{posted['id']}"
    assert answer(await ledger.client.get(response.headers["Location"])) == posted
    assert posted == posted | {
        "amount": 30,
        "hold_id": hold["id"],
        "debit_account_id": payer["id"],
        "credit_account_id": payee["id"],
        "debit_balance_after": 70,
        "credit_balance_after": 30,
        "reverses_id": None,
        "reference": None,
    }
    ended = await read_hold(ledger, hold)
    assert ended == hold | {
        "captured_amount": 30,
        "status": "captured",
        "closed_debit_account_version": posted["debit_account_version"],
        "closed_credit_account_version": posted["credit_account_version"],
        "closed_at": posted["created_at"],
    }
    assert held(await ledger.read_account(payer)) == (70, 70, 0, 0)
    assert held(await ledger.read_account(payee)) == (30, 30, 0, 0)


async def test_a_final_capture_frees_the_rest(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    members = {"amount": 20, "reference": "r", "description": "d", "metadata": {"k": "v"}}
    posted = await capture(ledger, hold, **members)
    assert posted == posted | members
    ended = await read_hold(ledger, hold)
    assert (ended["status"], ended["captured_amount"], ended["amount"]) == ("captured", 20, 30)
    assert held(await ledger.read_account(payer)) == (80, 80, 0, 0)


async def test_parts_are_captured_until_nothing_is_left(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    parts = [await capture(ledger, hold, amount=amount, final=False) for amount in (5, 10)]
    partly = await read_hold(ledger, hold)
    assert (partly["status"], partly["captured_amount"], partly["closed_at"]) == ("open", 15, None)
    assert held(await ledger.read_account(payer)) == (85, 70, 15, 0)
    parts.append(await capture(ledger, hold, final=False))
    assert [part["amount"] for part in parts] == [5, 10, 15]
    ended = await read_hold(ledger, hold)
    assert (ended["status"], ended["closed_at"]) == ("captured", parts[-1]["created_at"])
    captures = answer(await ledger.client.get(f"{ledger.transfers}?hold_id={hold['id']}"))["items"]
    assert captures == parts[::-1]


@pytest.mark.parametrize("final", [True, False])
async def test_no_more_is_captured_than_the_hold_reserves(
    ledger: LedgerClient, payer: JSON, payee: JSON, *, final: bool
) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    await capture(ledger, hold, amount=12, final=False)
    refused = problem(await post_capture(ledger, hold, amount=19, final=final), 422, "capture_exceeds_hold")
    explanation = {"hold_id": hold["id"], "hold_amount": 30, "captured_amount": 12, "amount": 19, "excess": 1}
    assert refused | explanation == refused
    assert (await read_hold(ledger, hold))["status"] == "open"
    await capture(ledger, hold, amount=18)


async def test_the_maximum_is_asked_when_money_arrives(ledger: LedgerClient, payer: JSON) -> None:
    payee = await ledger.account(maximum_balance=20)
    hold = await open_hold(ledger, payer, payee, 30)
    refused = problem(await post_capture(ledger, hold), 422, "balance_limit_exceeded")
    explanation = {"account_id": payee["id"], "balance": 0, "maximum_balance": 20, "amount": 30, "excess": 10}
    assert refused | explanation == refused
    assert await read_hold(ledger, hold) == hold
    await capture(ledger, hold, amount=20)


async def test_a_capture_needs_no_room_that_the_hold_has_reserved(
    ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    hold = await open_hold(ledger, payer, payee, 60)
    await ledger.move(payer, payee, 40)
    assert (await capture(ledger, hold))["debit_balance_after"] == 0


async def test_a_void_frees_all(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    await capture(ledger, hold, amount=10, final=False)
    response = await post_void(ledger, hold)
    assert response.headers["Location"] == f"{ledger.path}/holds/{hold['id']}"
    voided = answer(response)
    assert (voided["status"], voided["captured_amount"]) == ("voided", 10)
    assert voided == await read_hold(ledger, hold)
    payer = await ledger.read_account(payer)
    assert held(payer) == (90, 90, 0, 0)
    assert payer["version"] == voided["closed_debit_account_version"]
    assert payer["updated_at"] == voided["closed_at"]


@pytest.mark.parametrize("end", ["captured", "voided"])
@pytest.mark.parametrize("late", [post_capture, post_void])
async def test_a_hold_has_one_end(ledger: LedgerClient, payer: JSON, payee: JSON, end: str, late: Any) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    await (capture(ledger, hold, amount=20) if end == "captured" else void(ledger, hold))
    ended = await read_hold(ledger, hold)
    refused = problem(await late(ledger, hold), 409, "hold_not_open")
    explanation = {"hold_id": hold["id"], "hold_status": end, "captured_amount": 20 if end == "captured" else 0}
    assert refused | explanation == refused
    assert await read_hold(ledger, hold) == ended


async def test_the_first_broken_rule_of_a_capture_is_named(ledger: LedgerClient, payer: JSON) -> None:
    """Each request breaks its rule and every rule after it."""
    payee = await ledger.account(maximum_balance=0)
    hold, ended = await open_hold(ledger, payer, payee, 30), await open_hold(ledger, payer, payee, 1)
    await void(ledger, ended)
    await ledger.revise(payee, status="frozen")
    long_ago = "2001-01-01T00:00:00Z"
    problem(await post_capture(ledger, ended, amount=31, effective_at=long_ago), 409, "hold_not_open")
    problem(await post_capture(ledger, hold, amount=31, effective_at=long_ago), 422, "capture_exceeds_hold")
    refused = problem(await post_capture(ledger, hold, amount=30, effective_at=long_ago), 409, "account_frozen")
    assert refused["account_id"] == payee["id"]
    await ledger.revise(payee, status="open")
    problem(await post_capture(ledger, hold, amount=30, effective_at=long_ago), 422, "time_out_of_range")
    problem(await post_capture(ledger, hold), 422, "balance_limit_exceeded")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [(b'{"amount": 0}', "/amount"), (b'{"final": 1}', "/final"), (b'{"currency": "USD"}', "/currency"), (b"[]", "")],
)
async def test_a_malformed_capture(ledger: LedgerClient, payer: JSON, payee: JSON, body: bytes, pointer: str) -> None:
    hold = await open_hold(ledger, payer, payee)
    path = f"{ledger.path}/holds/{hold['id']}/captures"
    assert pointers(await ledger.client.post(path, content=body, headers=keyed())) == [pointer]
