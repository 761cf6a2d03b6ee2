"""Holds in a batch state: what they reserve, what frees it, and the version that each change gives the accounts."""

import pytest

from service.domain.commands import CaptureHold, ExpireHold, VoidHold
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from tests.domain.batches import Batch, words
from tests.support.domain_samples import (
    HOLD_ID,
    INSTANT,
    LATER,
    NOW,
    A,
    B,
    account,
    capture,
    fence,
    hold,
    in_possession_of,
    open_hold,
    post,
    void,
)

EXPIRE = ExpireHold(hold_id=HOLD_ID)


def holding(**fields: object) -> Batch:
    """Two accounts and one hold of 10 between them, of which the debit account has 40."""
    held = hold(**fields)
    return Batch(
        in_possession_of(40, A, debits_held=held.reserved, minimum_balance=0, version=4),
        account(B, credits_held=held.reserved, version=8),
        holds=[held],
    )


def held(batch: Batch) -> tuple[int, int]:
    return batch.batch_state.accounts[A].debits_held, batch.batch_state.accounts[B].credits_held


def posted(batch: Batch) -> tuple[int, int]:
    return batch.batch_state.accounts[A].debits_posted, batch.batch_state.accounts[B].credits_posted


def versions(batch: Batch) -> tuple[int, int]:
    return batch.batch_state.accounts[A].version, batch.batch_state.accounts[B].version


def test_opening_reserves_on_both_sides_and_is_one_change() -> None:
    batch = Batch(in_possession_of(40, A, version=4), account(B, version=8))
    [answer] = batch.execute(open_hold(A, B, 10))
    assert batch.batch_state.new_holds == [answer.result]
    assert batch.batch_state.new_transfers == []
    assert (held(batch), posted(batch), versions(batch)) == ((10, 10), (0, 0), (5, 9))
    assert batch.batch_state.touched_accounts == {A: 4, B: 8}
    assert batch.batch_state.accounts[A].updated_at == batch.batch_state.accounts[B].updated_at == NOW


def test_what_is_held_cannot_be_spent() -> None:
    batch = Batch(in_possession_of(40, A, minimum_balance=0), account(B))
    answers = [
        *batch.execute(open_hold(A, B, 30)),
        *batch.execute(post(A, B, 11, key="1")),
        *batch.execute(post(A, B, 10, key="2")),
    ]
    assert words(answers) == ["open", "insufficient_funds", "transfer"]


@pytest.mark.parametrize(
    ("command", "still_held", "captured", "status"),
    [
        (capture(), 0, 10, "captured"),
        (capture(amount=4), 0, 4, "captured"),
        (capture(amount=4, final=False), 6, 4, "open"),
        (capture(amount=10, final=False), 0, 10, "captured"),
        (void(), 0, 0, "voided"),
    ],
)
def test_every_end_moves_what_is_captured_and_frees_the_rest(
    command: CaptureHold | VoidHold, still_held: int, captured: int, status: str
) -> None:
    batch = holding()
    [answer] = batch.execute(command)
    assert (held(batch), posted(batch)) == ((still_held, still_held), (captured, captured))
    assert versions(batch) == (5, 9), "one change, one version"
    after = batch.batch_state.holds[HOLD_ID]
    assert (after.status, after.captured_amount) == (status, captured)
    assert batch.batch_state.touched_holds == {HOLD_ID: 0}, "the captured amount that was loaded"
    assert isinstance(answer.result, Transfer if captured else Hold)
    assert batch.batch_state.new_holds == []
    if status != "open":
        assert (after.closed_debit_account_version, after.closed_credit_account_version) == (5, 9)


def test_captures_in_parts_end_in_one_of_two_ways() -> None:
    batch = holding(captured_amount=2)
    first = batch.execute(capture(amount=3, final=False, key="first"))
    assert (words(first), held(batch)) == (["transfer"], (5, 5))
    last = batch.execute(capture(amount=4, key="last"))
    assert (words(last), held(batch), posted(batch)) == (["transfer"], (0, 0), (7, 7))
    assert batch.batch_state.touched_holds == {HOLD_ID: 2}
    late = [*batch.execute(capture(amount=1, key="late")), *batch.execute(void())]
    assert words(late) == ["hold_not_open", "hold_not_open"]


def test_a_void_frees_what_was_not_captured() -> None:
    batch = holding()
    answers = [*batch.execute(capture(amount=4, final=False)), *batch.execute(void())]
    assert words(answers) == ["transfer", "voided"]
    assert (held(batch), posted(batch), versions(batch)) == ((0, 0), (4, 4), (6, 10))
    assert batch.batch_state.holds[HOLD_ID].captured_amount == 4


def test_a_hold_ends_only_once() -> None:
    batch = holding()
    answers = [
        *batch.execute(void()),
        *batch.execute(capture()),
        *batch.execute(void(key="again")),
        *batch.execute(EXPIRE),
    ]
    assert words(answers) == ["voided", "hold_not_open", "hold_not_open", "voided"]
    assert (held(batch), versions(batch)) == ((0, 0), (5, 9))


@pytest.mark.parametrize("expires_at", [NOW - INSTANT, NOW])
def test_expiry_frees_a_hold_past_its_time(expires_at: object) -> None:
    batch = holding(captured_amount=3, expires_at=expires_at)
    assert words(batch.execute(EXPIRE)) == ["expired"]
    assert (held(batch), posted(batch), versions(batch)) == ((0, 0), (0, 0), (5, 9))
    after = batch.batch_state.holds[HOLD_ID]
    assert (after.status, after.captured_amount, after.closed_at) == ("expired", 3, NOW)
    assert (after.closed_debit_account_version, after.closed_credit_account_version) == (5, 9)
    assert batch.batch_state.touched_holds == {HOLD_ID: 3}


def test_expiry_is_no_decision() -> None:
    batch = holding(expires_at=NOW)
    batch.execute(EXPIRE)
    assert batch.batch_state.new_decisions == []
    assert batch.batch_state.changed, "and is stored all the same"


def test_expiry_is_no_movement() -> None:
    batch = Batch(
        account(A, status="frozen", debits_held=10),
        account(B, status="frozen", credits_held=10),
        holds=[hold(expires_at=NOW)],
    )
    assert words(batch.execute(EXPIRE)) == ["expired"]
    assert held(batch) == (0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": NOW + INSTANT},
        {"expires_at": LATER},
        {"status": "captured", "captured_amount": 10, "expires_at": NOW},
        {"status": "voided", "expires_at": NOW},
        {"status": "expired", "expires_at": NOW},
    ],
)
def test_expiry_changes_no_hold_that_is_not_overdue_or_has_ended(fields: dict[str, object]) -> None:
    batch = holding(**fields)
    before = batch.state()
    batch.execute(EXPIRE)
    assert batch.state() == before
    assert not batch.batch_state.changed


def test_expiring_twice_frees_once() -> None:
    batch = holding(expires_at=NOW)
    assert words([*batch.execute(EXPIRE), *batch.execute(EXPIRE)]) == ["expired", "expired"]
    assert (held(batch), versions(batch)) == ((0, 0), (5, 9))


@pytest.mark.parametrize("sweep_first", [True, False])
def test_an_overdue_hold_cannot_be_captured_or_voided_whether_or_not_it_was_swept(*, sweep_first: bool) -> None:
    batch = holding(expires_at=NOW)
    if sweep_first:
        batch.execute(EXPIRE)
    answers = [*batch.execute(capture()), *batch.execute(capture(amount=1_000, key="too much")), *batch.execute(void())]
    assert words(answers) == ["hold_expired", "hold_expired", "hold_expired"]
    assert posted(batch) == (0, 0)
    assert held(batch) == ((0, 0) if sweep_first else (10, 10))


def test_a_void_replays_in_its_own_batch_and_is_rejected_under_a_fenced_key() -> None:
    batch = holding()
    answers = [
        *batch.execute(void(key="v")),
        *batch.execute(fence("f")),
        *batch.execute(void(key="v")),
        *batch.execute(void(key="f")),
    ]
    assert words(answers) == ["voided", "fenced", "replayed voided", "key_fenced"]
