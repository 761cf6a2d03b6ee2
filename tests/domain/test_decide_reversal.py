"""Reversals: whole or in parts, never more than the whole, and otherwise transfers like any other."""

from datetime import datetime, timedelta

import pytest

from service.domain.accounts import Account
from service.domain.commands import ReverseTransfer
from service.domain.decide import decide_reversal
from service.domain.limits import INT64_MAX
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.support.domain_samples import (
    GROUP_ID,
    HOLD_ID,
    INSTANT,
    MOMENT,
    NEW_ID,
    NOW,
    TRANSFER_ID,
    A,
    B,
    account,
    in_possession_of,
    reverse,
    transfer,
)
from tests.support.rejections import told


def decided(
    command: ReverseTransfer,
    original: Transfer,
    *,
    reversed_amount: int = 0,
    payer: Account | None = None,
    payee: Account | None = None,
) -> Transfer | Rejection:
    """Reverse ``original``, a transfer from A to B: ``payer`` is B, which was paid then and pays now."""
    payer, payee = payer or in_possession_of(100, B, version=8), payee or account(A, version=4)
    accounts = {payer.id: payer, payee.id: payee}
    return decide_reversal(command, original, reversed_amount, accounts, MOMENT, new_id=NEW_ID, group_id=GROUP_ID)


def test_a_reversal_is_a_transfer_the_other_way_that_names_the_first() -> None:
    value_date = NOW + timedelta(days=1)
    command = reverse(amount=4, reference="claim", description="late", metadata={"case": "9"}, effective_at=value_date)
    original = transfer(reference="invoice", description="March", metadata={"order": "12"}, group_id=HOLD_ID)
    assert decided(command, original) == Transfer(
        ledger_id=command.ledger_id,
        id=NEW_ID,
        debit_account_id=B,
        credit_account_id=A,
        amount=4,
        currency="USD",
        debit_account_version=9,
        credit_account_version=5,
        debit_balance_after=96,
        credit_balance_after=4,
        reverses_id=TRANSFER_ID,
        group_id=GROUP_ID,
        reference="claim",
        description="late",
        metadata={"case": "9"},
        effective_at=value_date,
        created_at=NOW,
        client_id=command.client_id,
        idempotency_key=command.idempotency_key,
    )


@pytest.mark.parametrize(("before", "rest"), [(0, 10), (3, 7), (9, 1)])
def test_without_an_amount_all_that_is_left_is_reversed(before: int, rest: int) -> None:
    outcome = decided(reverse(), transfer(), reversed_amount=before)
    assert isinstance(outcome, Transfer)
    assert outcome.amount == rest


@pytest.mark.parametrize(("before", "amount", "excess"), [(0, 11, 1), (7, 4, 1), (1, INT64_MAX, INT64_MAX - 9)])
def test_the_parts_never_exceed_the_whole(before: int, amount: int, excess: int) -> None:
    outcome = decided(reverse(amount=amount), transfer(), reversed_amount=before)
    assert isinstance(outcome, Rejection)
    assert outcome.code == "reversal_exceeds_transfer"
    assert told(outcome) == {
        "transfer_id": str(TRANSFER_ID),
        "transfer_amount": 10,
        "reversed_amount": before,
        "amount": amount,
        "excess": excess,
    }


@pytest.mark.parametrize("amount", [None, 1, 10, 11])
def test_what_was_reversed_whole_is_not_reversed_again(amount: int | None) -> None:
    outcome = decided(reverse(amount=amount), transfer(), reversed_amount=10)
    assert isinstance(outcome, Rejection)
    assert (outcome.code, told(outcome)) == (
        "already_reversed",
        {"transfer_id": str(TRANSFER_ID), "reversed_amount": 10},
    )


def test_a_reversal_is_final() -> None:
    outcome = decided(reverse(), transfer(reverses_id=HOLD_ID))
    assert isinstance(outcome, Rejection)
    assert (outcome.code, told(outcome)) == (
        "reversal_not_reversible",
        {"transfer_id": str(TRANSFER_ID), "reverses_id": str(HOLD_ID)},
    )


def test_a_capture_is_reversed_like_any_transfer_and_its_hold_stays_as_it_is() -> None:
    outcome = decided(reverse(), transfer(hold_id=HOLD_ID))
    assert isinstance(outcome, Transfer)
    assert (outcome.amount, outcome.hold_id, outcome.reverses_id) == (10, None, TRANSFER_ID)


@pytest.mark.parametrize("held", [0, 5])
def test_what_was_spent_or_reserved_cannot_be_reversed_below_the_minimum(held: int) -> None:
    payer = in_possession_of(9 + held, B, debits_held=held, minimum_balance=0)
    outcome = decided(reverse(), transfer(), payer=payer)
    assert isinstance(outcome, Rejection)
    assert (outcome.code, told(outcome)["account_id"], told(outcome)["shortfall"]) == (
        "insufficient_funds",
        str(B),
        1,
    )


def test_what_comes_back_must_fit_under_the_maximum() -> None:
    outcome = decided(reverse(), transfer(), payee=account(A, maximum_balance=9))
    assert isinstance(outcome, Rejection)
    assert (outcome.code, told(outcome)["account_id"]) == ("balance_limit_exceeded", str(A))


def test_the_largest_transfer_is_reversed_whole() -> None:
    payer = account(B, credits_posted=INT64_MAX, minimum_balance=0)
    payee = account(A, debits_posted=INT64_MAX)
    outcome = decided(reverse(), transfer(amount=INT64_MAX), payer=payer, payee=payee)
    assert isinstance(outcome, Transfer)
    assert (outcome.amount, outcome.debit_balance_after, outcome.credit_balance_after) == (INT64_MAX, 0, 0)


@pytest.mark.parametrize("effective_at", [NOW - timedelta(days=2), NOW + timedelta(days=2)])
def test_a_reversal_has_no_value_date_before_its_transfer(effective_at: datetime) -> None:
    original = transfer(effective_at=effective_at)
    outcome = decided(reverse(effective_at=effective_at), original)
    assert isinstance(outcome, Transfer)
    rejection = decided(reverse(effective_at=effective_at - INSTANT), original)
    assert isinstance(rejection, Rejection)
    assert rejection.code == "time_out_of_range"
    assert datetime.fromisoformat(told(rejection)["earliest"]) == effective_at


@pytest.mark.parametrize(("days", "reversed_after_days"), [(-2, 0), (0, 0), (2, 2), (400, 400)])
def test_without_a_value_date_a_reversal_has_now_or_that_of_its_transfer(days: int, reversed_after_days: int) -> None:
    """A transfer whose value date is in the future is reversed on that day, because it moves no balance before it."""
    outcome = decided(reverse(), transfer(effective_at=NOW + timedelta(days=days)))
    assert isinstance(outcome, Transfer)
    assert outcome.effective_at == NOW + timedelta(days=reversed_after_days)
