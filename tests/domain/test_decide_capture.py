"""Captures in parts and whole, and the ways in which a hold ends."""

from datetime import datetime, timedelta

import pytest
from msgspec import structs

from service.domain.accounts import Account
from service.domain.commands import CaptureHold
from service.domain.decide import close_hold, decide_capture, decide_void
from service.domain.holds import Hold, HoldStatus
from service.domain.limits import INT64_MAX
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.support.domain_samples import (
    GROUP_ID,
    HOLD_ID,
    INSTANT,
    LATER,
    MOMENT,
    NEW_ID,
    NOW,
    A,
    B,
    account,
    capture,
    hold,
    in_possession_of,
)
from tests.support.rejections import told


def holding(held: Hold) -> dict[str, Account]:
    """Return the accounts of the hold ``held``, which reserves all that the debit account has."""
    return {
        "debit": in_possession_of(held.reserved, A, debits_held=held.reserved, minimum_balance=0, version=4),
        "credit": account(B, credits_held=held.reserved, version=8),
    }


def decided(
    command: CaptureHold, held: Hold, *, debit: Account | None = None, credit: Account | None = None
) -> tuple[Transfer, Hold] | Rejection:
    usual = holding(held)
    accounts = {A: debit or usual["debit"], B: credit or usual["credit"]}
    return decide_capture(command, held, accounts, MOMENT, new_id=NEW_ID, group_id=GROUP_ID)


def captured(command: CaptureHold, held: Hold, **accounts: Account) -> tuple[Transfer, Hold]:
    outcome = decided(command, held, **accounts)
    assert not isinstance(outcome, Rejection), outcome
    return outcome


def rejected(command: CaptureHold, held: Hold, **accounts: Account) -> Rejection:
    outcome = decided(command, held, **accounts)
    assert isinstance(outcome, Rejection), outcome
    return outcome


def test_a_capture_is_a_transfer_that_names_its_hold() -> None:
    value_date = NOW + timedelta(days=1)
    command = capture(
        amount=4, reference="stay", description="bill", metadata={"room": "7"}, effective_at=value_date, final=False
    )
    transfer, after = captured(command, hold(reference="deposit", group_id=None))
    assert transfer == Transfer(
        ledger_id=command.ledger_id,
        id=NEW_ID,
        debit_account_id=A,
        credit_account_id=B,
        amount=4,
        currency="USD",
        debit_account_version=5,
        credit_account_version=9,
        debit_balance_after=6,
        credit_balance_after=4,
        hold_id=HOLD_ID,
        group_id=GROUP_ID,
        reference="stay",
        description="bill",
        metadata={"room": "7"},
        effective_at=value_date,
        created_at=NOW,
        client_id=command.client_id,
        idempotency_key=command.idempotency_key,
    )
    assert after == hold(reference="deposit", captured_amount=4)


@pytest.mark.parametrize("final", [True, False])
def test_without_an_amount_all_that_is_left_is_captured(*, final: bool) -> None:
    transfer, after = captured(capture(final=final), hold(captured_amount=3))
    assert (transfer.amount, after.captured_amount, after.status) == (7, 10, "captured")


def test_a_capture_is_final_unless_it_says_otherwise() -> None:
    _, after = captured(capture(amount=4), hold())
    assert (after.captured_amount, after.status, after.reserved) == (4, "captured", 0)


def test_a_capture_in_parts_leaves_the_rest_reserved() -> None:
    _, after = captured(capture(amount=4, final=False), hold(captured_amount=3))
    assert (after.captured_amount, after.status, after.reserved) == (7, "open", 3)
    assert after.closed_at is None


def test_a_hold_that_reserves_nothing_more_is_at_its_end() -> None:
    _, after = captured(capture(amount=7, final=False), hold(captured_amount=3))
    assert after.status == "captured"


def test_the_end_of_a_hold_shares_its_versions_with_the_last_capture() -> None:
    transfer, after = captured(capture(amount=4), hold())
    assert after.closed_at == NOW
    assert (after.closed_debit_account_version, after.closed_credit_account_version) == (5, 9)
    assert (transfer.debit_account_version, transfer.credit_account_version) == (5, 9)


@pytest.mark.parametrize(("before", "amount", "excess"), [(0, 11, 1), (7, 4, 1), (9, INT64_MAX, INT64_MAX - 1)])
def test_never_more_is_captured_than_is_left(before: int, amount: int, excess: int) -> None:
    rejection = rejected(capture(amount=amount), hold(captured_amount=before))
    assert rejection.code == "capture_exceeds_hold"
    assert told(rejection) == {
        "hold_id": str(HOLD_ID),
        "hold_amount": 10,
        "captured_amount": before,
        "amount": amount,
        "excess": excess,
    }


@pytest.mark.parametrize(("expires_at", "expired"), [(NOW + INSTANT, False), (NOW, True), (NOW - INSTANT, True)])
def test_a_hold_past_its_time_is_not_captured_whether_or_not_it_was_swept(expires_at: object, *, expired: bool) -> None:
    outcome = decided(capture(), hold(expires_at=expires_at))
    if expired:
        assert isinstance(outcome, Rejection)
        assert outcome.code == "hold_expired"
    else:
        assert not isinstance(outcome, Rejection)


@pytest.mark.parametrize("expires_at", [NOW, LATER])
@pytest.mark.parametrize(
    ("status", "captured_amount", "rejection"),
    [
        ("captured", 10, "hold_not_open"),
        ("captured", 4, "hold_not_open"),
        ("voided", 0, "hold_not_open"),
        ("voided", 4, "hold_not_open"),
        ("expired", 0, "hold_expired"),
    ],
)
def test_an_end_is_final_whatever_time_it_is(
    status: str, captured_amount: int, rejection: str, expires_at: object
) -> None:
    ended = hold(status=status, captured_amount=captured_amount, expires_at=expires_at)
    assert rejected(capture(), ended).code == rejection
    voided = decide_void(HOLD_ID, ended, {A: account(A), B: account(B)}, MOMENT)
    assert isinstance(voided, Rejection)
    assert voided.code == rejection
    if rejection == "hold_not_open":
        assert told(voided) == {"hold_id": str(HOLD_ID), "hold_status": status, "captured_amount": captured_amount}


def test_what_is_reserved_is_there_even_below_the_minimum() -> None:
    """The minimum was checked when the hold was opened."""
    poor = in_possession_of(10, A, debits_held=10, minimum_balance=5)
    transfer, _ = captured(capture(), hold(), debit=poor)
    assert transfer.amount == 10


def test_the_counters_have_room_for_what_was_reserved() -> None:
    full = account(A, debits_posted=INT64_MAX - 10, debits_held=10, credits_posted=INT64_MAX)
    transfer, _ = captured(capture(), hold(), debit=full)
    assert transfer.debit_balance_after == 0


@pytest.mark.parametrize(("maximum", "fits"), [(60, True), (59, False)])
def test_the_maximum_is_checked_only_against_the_captured_amount(maximum: int, *, fits: bool) -> None:
    credit = in_possession_of(56, B, credits_held=10, maximum_balance=maximum)
    outcome = decided(capture(amount=4), hold(), credit=credit)
    assert (outcome.code if isinstance(outcome, Rejection) else "fits") == (
        "fits" if fits else "balance_limit_exceeded"
    )


def test_the_maximum_of_a_debit_account_is_checked_too() -> None:
    loan = in_possession_of(50, A, normal_side="debit", debits_held=10, maximum_balance=55)
    assert told(rejected(capture(), hold(), debit=loan))["account_id"] == str(A)


def test_a_void_frees_a_hold_of_frozen_accounts() -> None:
    accounts = {A: account(A, status="frozen", version=4), B: account(B, status="frozen", version=8)}
    assert decide_void(HOLD_ID, hold(captured_amount=3), accounts, MOMENT) == hold(
        captured_amount=3,
        status="voided",
        closed_at=NOW,
        closed_debit_account_version=5,
        closed_credit_account_version=9,
    )


def test_what_was_closed_can_be_shown_as_it_was_opened() -> None:
    opened = hold(group_id=GROUP_ID, reference="deposit", metadata={"room": "7"})
    part = structs.replace(opened, captured_amount=4)
    closed = close_hold(part, HoldStatus.VOIDED, {A: account(A), B: account(B)}, MOMENT)
    assert closed != opened
    assert closed.as_opened() == part.as_opened() == opened


@pytest.mark.parametrize(("status", "reserved"), [("open", 7), ("captured", 0), ("voided", 0), ("expired", 0)])
def test_only_an_open_hold_reserves_what_is_left(status: str, reserved: int) -> None:
    assert hold(status=status, captured_amount=3).reserved == reserved


def test_a_capture_has_no_value_date_before_its_hold() -> None:
    held = hold()
    assert captured(capture(effective_at=held.created_at), held)[0].effective_at == held.created_at
    rejection = rejected(capture(effective_at=held.created_at - INSTANT), held)
    assert rejection.code == "time_out_of_range"
    assert datetime.fromisoformat(told(rejection)["earliest"]) == held.created_at


def test_without_a_value_date_a_capture_has_now_or_its_holds_opening() -> None:
    """A hold is placed just after the last change of its accounts, which may be a little ahead of the clock."""
    assert captured(capture(), hold())[0].effective_at == NOW
    assert captured(capture(), hold(created_at=NOW + INSTANT))[0].effective_at == NOW + INSTANT
