"""The order and the clock: what a batch makes stands behind the ledger's last place, and the clock decides the rest."""

from datetime import datetime, timedelta

import pytest

from service.domain.commands import AnyCommand, ExpireHold
from tests.domain.batches import Batch, words
from tests.support.domain_samples import (
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

AHEAD = NOW + timedelta(seconds=2)
TOO_FAR = NOW + POLICY.clock_ahead_max + INSTANT


def busy_batch(last_at: datetime, **held: datetime) -> Batch:
    return Batch(
        in_possession_of(100, A, debits_held=10),
        account(B, credits_held=10),
        last_at=last_at,
        holds=[hold(**held)],
        transfers=[transfer()],
    )


def places(batch: Batch) -> set[datetime]:
    """When everything that the batch made, and every account that it changed, says that it happened."""
    state = batch.batch_state
    closed = [state.holds[hold_id].closed_at for hold_id in state.touched_holds]
    return {
        *(one.created_at for one in state.new_transfers),
        *(one.created_at for one in state.new_holds),
        *(one.created_at for one in state.new_decisions),
        *(state.accounts[account_id].updated_at for account_id in state.touched_accounts),
        *(at for at in closed if at is not None),
    }


@pytest.mark.parametrize(
    ("last_at", "place"),
    [
        (NOW - INSTANT, NOW),
        (NOW, NOW + INSTANT),
        (AHEAD, AHEAD + INSTANT),
        (NOW + POLICY.clock_ahead_max, NOW + POLICY.clock_ahead_max + INSTANT),
    ],
)
def test_all_that_a_batch_makes_stands_just_behind_the_last_place(last_at: datetime, place: datetime) -> None:
    """Also what it rejects and what it fences, and value dates that nobody gave."""
    batch = busy_batch(last_at)
    groups: list[list[AnyCommand]] = [
        [post(A, B)],
        [post(A, B, key="one"), open_hold(A, B, key="other")],
        [capture()],
        [reverse()],
        [post(A, A, key="rejected")],
        [fence("fenced")],
    ]
    for group in groups:
        batch.execute(*group)
    assert places(batch) == {place}
    assert {one.effective_at for one in batch.batch_state.new_transfers} == {place}


def test_identifiers_rise_in_the_order_of_execution_from_the_place() -> None:
    batch = busy_batch(AHEAD)
    for number in range(3):
        batch.execute(post(A, B, key=f"{number}"))
    made = [one.id for one in batch.batch_state.new_transfers]
    assert made == sorted(made)
    assert batch.executor.new_ids.place == AHEAD + INSTANT


WRITING = [post(A, B), open_hold(A, B), capture(), void(), reverse(), fence("fenced"), post(A, A)]


@pytest.mark.parametrize("command", WRITING, ids=lambda command: type(command).__name__)
def test_too_far_ahead_everything_is_rejected_and_nothing_remembered(command: AnyCommand) -> None:
    batch = busy_batch(TOO_FAR)
    before = batch.state()
    assert words(batch.execute(command)) == ["clock_behind"]
    assert batch.state() == before
    assert not batch.batch_state.changed


def test_too_far_ahead_a_group_is_rejected_whole() -> None:
    batch = busy_batch(TOO_FAR)
    before = batch.state()
    assert words(batch.execute(post(A, B, key="one"), post(B, A, key="other"))) == ["clock_behind"] * 2
    assert batch.state() == before


def test_what_was_decided_before_replays_whatever_the_clock_says() -> None:
    batch = busy_batch(AHEAD)
    batch.execute(post(A, B, key="alone"))
    batch.execute(post(A, B, key="one"), post(B, A, key="other"))
    late = Batch(account(A), account(B), last_at=TOO_FAR, decisions=batch.batch_state.new_decisions)
    assert words(late.execute(post(A, B, key="alone"))) == ["replayed transfer"]
    assert words(late.execute(post(A, B, key="one"), post(B, A, key="other"))) == ["replayed transfer"] * 2
    assert words(late.execute(post(A, B, key="one"), post(B, A, key="new"))) == ["replayed transfer", "clock_behind"]


@pytest.mark.parametrize(
    "command", [open_hold(A, B, expires_in_seconds=2), capture(), void()], ids=lambda command: type(command).__name__
)
def test_nothing_of_a_hold_stands_behind_its_end(command: AnyCommand) -> None:
    """The hold is open by the clock, but in the order its end would come first: the caller has to try again later."""
    batch = busy_batch(AHEAD, expires_at=AHEAD)
    before = batch.state()
    assert words(batch.execute(command)) == ["clock_behind"]
    assert words(batch.execute(post(A, B, key="beside it"), command)) == ["clock_behind"] * 2
    assert batch.state() == before
    assert words(batch.execute(post(A, B, key="no hold"))) == ["transfer"]
    assert words(busy_batch(AHEAD, expires_at=AHEAD + 2 * INSTANT).execute(capture())) == ["transfer"]


def test_the_clock_decides_whether_a_hold_is_over() -> None:
    """The ledger was changed at a time after the hold's end, but the clock has not reached that end."""
    for expires_at, status in ((NOW, "expired"), (NOW + INSTANT, "open"), (LATER, "open")):
        batch = busy_batch(AHEAD, expires_at=expires_at)
        assert words(batch.execute(ExpireHold(hold_id=HOLD_ID))) == [status]


def test_too_far_ahead_no_hold_expires() -> None:
    batch = busy_batch(TOO_FAR, expires_at=NOW)
    before = batch.state()
    assert words(batch.execute(ExpireHold(hold_id=HOLD_ID))) == ["open"]
    assert batch.state() == before


def test_what_a_rejected_group_changed_falls_back() -> None:
    batch = Batch(account(A), account(B), in_possession_of(100, C, minimum_balance=0), last_at=AHEAD)
    before = batch.state()["accounts"]
    assert words(batch.execute(post(A, B, key="one"), post(C, B, 1_000, key="rejected")))[1] == "insufficient_funds"
    assert batch.state()["accounts"] == before
