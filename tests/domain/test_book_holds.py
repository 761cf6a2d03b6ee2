"""The life of holds in a book: what they reserve, what frees it, and what every change is numbered."""

import pytest

from service.domain.commands import CaptureHold, ExpireHold, VoidHold
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from tests.domain.books import Desk, words
from tests.domain.samples import (
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


def holding(**fields: object) -> Desk:
    """Two accounts and one hold of 10 between them, of which the debit account has 40."""
    held = hold(**fields)
    return Desk(
        in_possession_of(40, A, debits_held=held.reserved, minimum_balance=0, version=4),
        account(B, credits_held=held.reserved, version=8),
        holds=[held],
    )


def held(desk: Desk) -> tuple[int, int]:
    return desk.book.accounts[A].debits_held, desk.book.accounts[B].credits_held


def posted(desk: Desk) -> tuple[int, int]:
    return desk.book.accounts[A].debits_posted, desk.book.accounts[B].credits_posted


def versions(desk: Desk) -> tuple[int, int]:
    return desk.book.accounts[A].version, desk.book.accounts[B].version


def test_opening_reserves_on_both_sides_and_is_one_change() -> None:
    desk = Desk(in_possession_of(40, A, version=4), account(B, version=8))
    [answer] = desk.do(open_hold(A, B, 10))
    assert desk.book.new_holds == [answer.outcome]
    assert desk.book.new_transfers == []
    assert (held(desk), posted(desk), versions(desk)) == ((10, 10), (0, 0), (5, 9))
    assert desk.book.touched_accounts == {A: 4, B: 8}
    assert desk.book.accounts[A].updated_at == desk.book.accounts[B].updated_at == NOW


def test_what_is_held_cannot_be_spent() -> None:
    desk = Desk(in_possession_of(40, A, minimum_balance=0), account(B))
    answers = [*desk.do(open_hold(A, B, 30)), *desk.do(post(A, B, 11, key="1")), *desk.do(post(A, B, 10, key="2"))]
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
    desk = holding()
    [answer] = desk.do(command)
    assert (held(desk), posted(desk)) == ((still_held, still_held), (captured, captured))
    assert versions(desk) == (5, 9), "one change, one version"
    after = desk.book.holds[HOLD_ID]
    assert (after.status, after.captured_amount) == (status, captured)
    assert desk.book.touched_holds == {HOLD_ID: 0}, "the captured amount that was loaded"
    assert isinstance(answer.outcome, Transfer if captured else Hold)
    assert desk.book.new_holds == []
    if status != "open":
        assert (after.closed_debit_account_version, after.closed_credit_account_version) == (5, 9)


def test_captures_in_parts_end_in_one_of_two_ways() -> None:
    desk = holding(captured_amount=2)
    first = desk.do(capture(amount=3, final=False, key="first"))
    assert (words(first), held(desk)) == (["transfer"], (5, 5))
    last = desk.do(capture(amount=4, key="last"))
    assert (words(last), held(desk), posted(desk)) == (["transfer"], (0, 0), (7, 7))
    assert desk.book.touched_holds == {HOLD_ID: 2}
    late = [*desk.do(capture(amount=1, key="late")), *desk.do(void())]
    assert words(late) == ["hold_not_open", "hold_not_open"]


def test_a_void_frees_what_was_not_captured() -> None:
    desk = holding()
    answers = [*desk.do(capture(amount=4, final=False)), *desk.do(void())]
    assert words(answers) == ["transfer", "voided"]
    assert (held(desk), posted(desk), versions(desk)) == ((0, 0), (4, 4), (6, 10))
    assert desk.book.holds[HOLD_ID].captured_amount == 4


def test_one_end_only() -> None:
    desk = holding()
    answers = [*desk.do(void()), *desk.do(capture()), *desk.do(void(key="again")), *desk.do(EXPIRE)]
    assert words(answers) == ["voided", "hold_not_open", "hold_not_open", "voided"]
    assert (held(desk), versions(desk)) == ((0, 0), (5, 9))


@pytest.mark.parametrize("expires_at", [NOW - INSTANT, NOW])
def test_expiry_frees_a_hold_past_its_time(expires_at: object) -> None:
    desk = holding(captured_amount=3, expires_at=expires_at)
    assert words(desk.do(EXPIRE)) == ["expired"]
    assert (held(desk), posted(desk), versions(desk)) == ((0, 0), (0, 0), (5, 9))
    after = desk.book.holds[HOLD_ID]
    assert (after.status, after.captured_amount, after.closed_at) == ("expired", 3, NOW)
    assert (after.closed_debit_account_version, after.closed_credit_account_version) == (5, 9)
    assert desk.book.touched_holds == {HOLD_ID: 3}


def test_expiry_is_no_decision() -> None:
    desk = holding(expires_at=NOW)
    desk.do(EXPIRE)
    assert desk.book.new_decisions == []
    assert desk.book.changed, "and is stored all the same"


def test_expiry_is_no_movement() -> None:
    desk = Desk(
        account(A, status="frozen", debits_held=10),
        account(B, status="frozen", credits_held=10),
        holds=[hold(expires_at=NOW)],
    )
    assert words(desk.do(EXPIRE)) == ["expired"]
    assert held(desk) == (0, 0)


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
def test_expiry_leaves_alone_what_is_not_overdue_or_has_met_its_end(fields: dict[str, object]) -> None:
    desk = holding(**fields)
    before = desk.state()
    desk.do(EXPIRE)
    assert desk.state() == before
    assert not desk.book.changed


def test_expiring_twice_frees_once() -> None:
    desk = holding(expires_at=NOW)
    assert words([*desk.do(EXPIRE), *desk.do(EXPIRE)]) == ["expired", "expired"]
    assert (held(desk), versions(desk)) == ((0, 0), (5, 9))


@pytest.mark.parametrize("sweep_first", [True, False])
def test_an_overdue_hold_cannot_be_captured_or_voided_whether_or_not_it_was_swept(*, sweep_first: bool) -> None:
    desk = holding(expires_at=NOW)
    if sweep_first:
        desk.do(EXPIRE)
    answers = [*desk.do(capture()), *desk.do(capture(amount=1_000, key="too much")), *desk.do(void())]
    assert words(answers) == ["hold_expired", "hold_expired", "hold_expired"]
    assert posted(desk) == (0, 0)
    assert held(desk) == ((0, 0) if sweep_first else (10, 10))


def test_a_void_replays_in_its_own_batch_and_a_fence_beside_it_is_another_matter() -> None:
    desk = holding()
    answers = [*desk.do(void(key="v")), *desk.do(fence("f")), *desk.do(void(key="v")), *desk.do(void(key="f"))]
    assert words(answers) == ["voided", "fenced", "replayed voided", "key_fenced"]
