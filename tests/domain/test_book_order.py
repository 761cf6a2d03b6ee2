"""The order and the clock: facts rise along every account, and only those of an account that is ahead are lifted."""

from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from service.domain.accounts import Account
from service.domain.commands import AnyCommand, ExpireHold
from tests.domain.books import Desk, words
from tests.domain.samples import (
    HOLD_ID,
    INSTANT,
    LATER,
    NOW,
    POLICY,
    A,
    B,
    C,
    account,
    capture,
    fence,
    hold,
    in_possession_of,
    open_hold,
    post,
    reverse,
    transfer,
    void,
)

D = UUID(int=0xD)
AHEAD = NOW + timedelta(seconds=2)
TOO_FAR = NOW + POLICY.clock_ahead_max + INSTANT


def changed_at(updated_at: datetime, account_id: UUID = A) -> Account:
    return in_possession_of(100, account_id, debits_held=10, updated_at=updated_at)


def test_what_no_account_is_ahead_of_has_the_clocks_time() -> None:
    desk = Desk(changed_at(NOW - INSTANT), account(B))
    assert words(desk.do(post(A, B))) == ["transfer"]
    assert [one.created_at for one in desk.book.new_transfers] == [NOW]
    assert desk.book.touched_by_place() == {NOW: [A, B]}


@pytest.mark.parametrize("last_change", [NOW, AHEAD, NOW + POLICY.clock_ahead_max])
def test_a_fact_stands_just_after_the_last_change_of_its_accounts(last_change: datetime) -> None:
    desk = Desk(changed_at(last_change), account(B))
    desk.do(post(A, B))
    [made] = desk.book.new_transfers
    assert (made.created_at, made.effective_at) == (last_change + INSTANT, NOW)
    assert desk.book.touched_by_place() == {last_change + INSTANT: [A, B]}
    assert [decision.created_at for decision in desk.book.new_decisions] == [last_change + INSTANT]


def test_other_accounts_of_the_batch_keep_the_clocks_time() -> None:
    desk = Desk(changed_at(AHEAD), account(B), in_possession_of(100, C), account(D))
    desk.do(post(C, D, key="before"))
    desk.do(post(A, B, key="ahead"))
    desk.do(post(D, C, key="after"))
    assert [one.created_at for one in desk.book.new_transfers] == [NOW, AHEAD + INSTANT, NOW]
    assert desk.book.touched_by_place() == {NOW: [C, D], AHEAD + INSTANT: [A, B]}


def test_whoever_met_an_account_that_is_ahead_stays_behind_it() -> None:
    """B got its place from A, and so does C from B: along none of them time falls."""
    desk = Desk(changed_at(AHEAD), in_possession_of(100, B), in_possession_of(100, C))
    for number, (debit, credit) in enumerate([(B, C), (A, B), (C, B), (B, C)]):
        desk.do(post(debit, credit, 1, key=f"{number}"))
    places = [one.created_at for one in desk.book.new_transfers]
    assert places == [NOW, AHEAD + INSTANT, AHEAD + INSTANT, AHEAD + INSTANT]
    assert all(one <= other for one, other in pairwise(places))


def test_what_a_refused_unit_lifted_falls_back() -> None:
    desk = Desk(changed_at(AHEAD), account(B), in_possession_of(100, C, minimum_balance=0))
    before = desk.state()["accounts"]
    assert words(desk.do(post(A, B, key="lifted"), post(C, B, 1_000, key="refused")))[1] == "insufficient_funds"
    assert desk.state()["accounts"] == before
    desk.do(post(C, B, key="alone"))
    assert [one.created_at for one in desk.book.new_transfers] == [NOW]


def test_a_unit_has_one_place() -> None:
    desk = Desk(changed_at(AHEAD), account(B), in_possession_of(100, C))
    desk.do(post(C, B, key="first"), open_hold(A, B, key="second"))
    places = [one.created_at for one in desk.book.new_transfers] + [one.created_at for one in desk.book.new_holds]
    assert places == [AHEAD + INSTANT] * 2


@pytest.mark.parametrize("refused", [post(A, B, 1_000), post(A, A)])
def test_a_refusal_has_the_clocks_time(refused: AnyCommand) -> None:
    desk = Desk(in_possession_of(1, A, minimum_balance=0, updated_at=AHEAD), account(B))
    desk.do(refused)
    assert [decision.created_at for decision in desk.book.new_decisions] == [NOW]


def busy_desk(updated_at: datetime, **held: datetime) -> Desk:
    return Desk(changed_at(updated_at), account(B, credits_held=10), holds=[hold(**held)], transfers=[transfer()])


TOUCHING = [post(A, B), post(B, A), open_hold(A, B), capture(), void(), reverse()]


@pytest.mark.parametrize("command", TOUCHING, ids=lambda command: type(command).__name__)
def test_too_far_ahead_is_refused_and_not_remembered(command: AnyCommand) -> None:
    desk = busy_desk(TOO_FAR)
    before = desk.state()
    [answer] = desk.do(command)
    assert words([answer]) == ["clock_behind"]
    assert desk.state() == before
    assert desk.book.too_far_ahead == {A: TOO_FAR}


def test_who_is_too_far_ahead_concerns_nobody_else() -> None:
    desk = Desk(changed_at(TOO_FAR), account(B), in_possession_of(100, C), account(D))
    assert words(desk.do(post(C, D, key="others"))) == ["transfer"]
    assert words(desk.do(fence("fenced"))) == ["fenced"]
    assert [one.created_at for one in desk.book.new_transfers] == [NOW]


def test_a_unit_with_someone_too_far_ahead_is_refused_whole_for_now() -> None:
    desk = Desk(changed_at(TOO_FAR), account(B), in_possession_of(100, C))
    before = desk.state()
    assert words(desk.do(post(C, B, key="one"), post(A, B, key="other"))) == ["clock_behind"] * 2
    assert desk.state() == before


def test_what_was_decided_before_replays_whatever_the_clock_says() -> None:
    desk = Desk(changed_at(AHEAD), account(B))
    desk.do(post(A, B))
    decided = desk.book.new_decisions
    late = Desk(changed_at(TOO_FAR), account(B), decisions=decided)
    assert words(late.do(post(A, B))) == ["replayed transfer"]


@pytest.mark.parametrize(
    "command", [open_hold(A, B, expires_in_seconds=2), capture(), void()], ids=lambda command: type(command).__name__
)
def test_nothing_of_a_hold_stands_behind_its_end(command: AnyCommand) -> None:
    """By the clock it is open, in the order it would be over: it is asked for again a little later."""
    desk = busy_desk(AHEAD, expires_at=AHEAD)
    before = desk.state()
    assert words(desk.do(command)) == ["clock_behind"]
    assert desk.state() == before
    assert words(busy_desk(AHEAD, expires_at=AHEAD + 2 * INSTANT).do(capture())) == ["transfer"]


def test_the_clock_decides_whether_a_hold_is_over() -> None:
    """That an account was changed after the hold's end says nothing: the clock has not reached it."""
    for expires_at, status in ((NOW, "expired"), (NOW + INSTANT, "open"), (LATER, "open")):
        desk = busy_desk(AHEAD, expires_at=expires_at)
        assert words(desk.do(ExpireHold(hold_id=HOLD_ID))) == [status]


def test_a_hold_of_someone_too_far_ahead_stays_as_it_is() -> None:
    desk = busy_desk(TOO_FAR, expires_at=NOW)
    before = desk.state()
    assert words(desk.do(ExpireHold(hold_id=HOLD_ID))) == ["open"]
    assert desk.state() == before


def test_who_lacks_the_room_of_a_hold_that_cannot_be_freed_now_is_refused_for_now() -> None:
    """A decline would stay for ever; that A is too far ahead passes."""
    there = Desk(
        changed_at(TOO_FAR),
        in_possession_of(10, B, normal_side="debit", credits_held=10, minimum_balance=0),
        account(C),
        holds=[hold(expires_at=NOW)],
    )
    there.do(ExpireHold(hold_id=HOLD_ID))
    before = there.state()
    assert words(there.do(post(C, B, 5))) == ["clock_behind"]
    assert words(there.do(post(B, C, 1, key="one"), post(C, B, 5, key="other"))) == ["clock_behind"] * 2
    assert there.state() == before
    assert words(there.do(post(B, C, 1, key="no lack"))) == ["transfer"]
    assert words(there.do(post(C, C, key="another rule"))) == ["same_account"]
