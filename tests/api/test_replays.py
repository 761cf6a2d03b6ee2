"""Replays of holds and what follows on them: the first answer, whatever has happened since."""

import pytest

from tests.api.moves import capture, open_hold, post_capture, post_hold, post_reversal, post_void, reverse, void
from tests.support.http_ledger import JSON, LedgerClient, answer, problem


async def test_an_opened_hold_replays_as_it_was_opened(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    first = await post_hold(ledger, payer, payee, "key", amount=30)
    hold = answer(first)
    for amount in (10, 20):
        await capture(ledger, hold, amount=amount, final=False)
        again = await post_hold(ledger, payer, payee, "key", amount=30)
        assert answer(again) == hold
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
        assert again.headers["Location"] == first.headers["Location"]


async def test_a_voided_hold_replays_both_ways(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30, key="open")
    await capture(ledger, hold, amount=10, final=False)
    first = await post_void(ledger, hold, "void")
    await ledger.move(payer, payee)
    again = await post_void(ledger, hold, "void")
    assert (again.status_code, answer(again)) == (200, answer(first))
    assert again.headers["Idempotency-Replayed"] == "true"
    opened = await post_hold(ledger, payer, payee, "open", amount=30)
    assert answer(opened) == hold


async def test_captures_and_reversals_replay_after_the_end(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    first = await post_capture(ledger, hold, "part", amount=10, final=False)
    await void(ledger, hold)
    back = await post_reversal(ledger, answer(first), "back", amount=4)
    await reverse(ledger, answer(first))
    for again, before in (
        (await post_capture(ledger, hold, "part", amount=10, final=False), first),
        (await post_reversal(ledger, answer(first), "back", amount=4), back),
    ):
        assert (again.status_code, answer(again)) == (201, answer(before))
        assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    ("first", "other"),
    [({}, {"amount": 30}), ({"amount": 10}, {"amount": 11}), ({"amount": 10}, {"amount": 10, "final": False})],
)
async def test_another_capture_under_the_key_is_rejected(
    ledger: LedgerClient, payer: JSON, payee: JSON, first: JSON, other: JSON
) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    await capture(ledger, hold, key="key", **first)
    problem(await post_capture(ledger, hold, "key", **other), 422, "idempotency_key_reused")


async def test_what_is_left_out_is_the_default(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    first = await post_capture(ledger, hold, "key")
    for same in ({"amount": None}, {"final": True, "metadata": {}}, {"reference": None}):
        again = await post_capture(ledger, hold, "key", **same)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert answer(again) == answer(first)


async def test_rejections_of_holds_stay(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """They stay even when the missing money has arrived."""
    hold = await open_hold(ledger, payer, payee, 60)
    refusals = {
        "open": await post_hold(ledger, payer, payee, "open", amount=41),
        "capture": await post_capture(ledger, hold, "capture", amount=61),
    }
    await ledger.move(await ledger.account(), payer, 1_000)
    again = {
        "open": await post_hold(ledger, payer, payee, "open", amount=41),
        "capture": await post_capture(ledger, hold, "capture", amount=61),
    }
    for name, code in (("open", "insufficient_funds"), ("capture", "capture_exceeds_hold")):
        assert problem(again[name], 422, code) == answer(refusals[name])
        assert again[name].headers["Idempotency-Replayed"] == "true"
