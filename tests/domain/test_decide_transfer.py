"""Transfers that no rule rejects: what they say, and how much a balancing amount moves."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.accounts import Account
from service.domain.commands import PostTransfer
from service.domain.decide import decide_transfer
from service.domain.limits import INT64_MAX
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.support.domain_samples import GROUP_ID, INSTANT, MOMENT, NEW_ID, NOW, A, B, account, in_possession_of, post
from tests.support.rejections import told


def decided(command: PostTransfer, debit: Account, credit: Account) -> Transfer | Rejection:
    accounts = {debit.id: debit, credit.id: credit}
    return decide_transfer(command, accounts, MOMENT, new_id=NEW_ID, group_id=GROUP_ID)


def moved(command: PostTransfer, debit: Account, credit: Account) -> Transfer:
    outcome = decided(command, debit, credit)
    assert isinstance(outcome, Transfer), outcome
    return outcome


def test_a_transfer_has_all_terms_of_its_request_and_the_new_versions_and_balances() -> None:
    value_date = NOW - timedelta(days=3)
    command = post(
        A,
        B,
        30,
        reference="invoice 7",
        description="March",
        metadata={"order": "12"},
        effective_at=value_date,
    )
    debit, credit = in_possession_of(100, A, version=4), in_possession_of(5, B, version=8)
    assert decided(command, debit, credit) == Transfer(
        ledger_id=command.ledger_id,
        id=NEW_ID,
        debit_account_id=A,
        credit_account_id=B,
        amount=30,
        currency="USD",
        debit_account_version=5,
        credit_account_version=9,
        debit_balance_after=70,
        credit_balance_after=35,
        group_id=GROUP_ID,
        reference="invoice 7",
        description="March",
        metadata={"order": "12"},
        effective_at=value_date,
        created_at=NOW,
        client_id=command.client_id,
        idempotency_key=command.idempotency_key,
    )


def test_a_decision_changes_nothing() -> None:
    debit, credit = in_possession_of(100, A), account(B)
    moved(post(amount=30), debit, credit)
    assert (debit, credit) == (in_possession_of(100, A), account(B))


@pytest.mark.parametrize("newer", ["debit", "credit"])
def test_no_value_date_lies_before_the_day_on_which_an_account_was_opened(newer: str) -> None:
    opened = {"debit": NOW - timedelta(days=9), "credit": NOW - timedelta(days=9)} | {newer: NOW - timedelta(days=2)}
    accounts = in_possession_of(100, A, created_at=opened["debit"]), account(B, created_at=opened["credit"])
    first_day = datetime(2026, 2, 27, tzinfo=UTC)
    assert moved(post(effective_at=first_day), *accounts).effective_at == first_day
    rejection = decided(post(effective_at=first_day - INSTANT), *accounts)
    assert isinstance(rejection, Rejection)
    assert rejection.code == "time_out_of_range"
    assert datetime.fromisoformat(told(rejection)["earliest"]) == first_day


def test_without_a_value_date_a_transfer_is_not_before_the_first_day_of_its_accounts() -> None:
    tomorrow = datetime(2026, 3, 2, tzinfo=UTC)
    opened_ahead_of_the_clock = account(B, created_at=tomorrow + INSTANT)
    assert moved(post(), in_possession_of(100, A), opened_ahead_of_the_clock).effective_at == tomorrow


@pytest.mark.parametrize("currency", ["DEM", "XAU", "XXX", "ZZZ"])
def test_money_moves_in_whatever_currency_its_accounts_hold(currency: str) -> None:
    """The list of currencies changes, and accounts that were opened before stay usable."""
    accounts = in_possession_of(100, A, currency=currency), account(B, currency=currency)
    assert moved(post(currency=currency), *accounts).currency == currency
    rejection = decided(post(currency="USD"), *accounts)
    assert isinstance(rejection, Rejection)
    assert (rejection.code, told(rejection)["account_currency"]) == ("currency_mismatch", currency)


def test_without_a_value_date_a_transfer_has_that_of_now() -> None:
    assert moved(post(), in_possession_of(100, A), account(B)).effective_at == NOW


@pytest.mark.parametrize(
    ("debit_side", "credit_side", "debit_after", "credit_after"),
    [
        ("credit", "credit", 90, 60),
        ("debit", "credit", 110, 60),
        ("credit", "debit", 90, 40),
        ("debit", "debit", 110, 40),
    ],
)
def test_balances_follow_on_each_accounts_normal_side(
    debit_side: str, credit_side: str, debit_after: int, credit_after: int
) -> None:
    debit, credit = in_possession_of(100, A, normal_side=debit_side), in_possession_of(50, B, normal_side=credit_side)
    transfer = moved(post(amount=10), debit, credit)
    assert (transfer.debit_balance_after, transfer.credit_balance_after) == (debit_after, credit_after)


def test_held_money_does_not_change_the_balance_after() -> None:
    debit = in_possession_of(100, A, debits_held=60, minimum_balance=0)
    assert moved(post(amount=40), debit, account(B, credits_held=60)).debit_balance_after == 60


def test_the_largest_amount_moves() -> None:
    transfer = moved(post(amount=INT64_MAX), account(A), account(B))
    assert (transfer.debit_balance_after, transfer.credit_balance_after) == (-INT64_MAX, INT64_MAX)


@pytest.mark.parametrize(
    ("available", "given", "moves"), [(100, 100, 100), (100, 99, 99), (100, 101, 100), (1, INT64_MAX, 1)]
)
def test_a_balancing_amount_moves_what_is_available_up_to_its_limit(available: int, given: int, moves: int) -> None:
    debit = in_possession_of(available + 30, A, debits_held=25, minimum_balance=5)
    assert moved(post(amount=given, at_most=True), debit, account(B)).amount == moves


@pytest.mark.parametrize("overdrawn", [0, 7])
def test_a_balancing_amount_moves_at_least_one(overdrawn: int) -> None:
    debit = account(A, debits_posted=overdrawn, minimum_balance=0)
    outcome = decided(post(amount=50, at_most=True), debit, account(B))
    assert isinstance(outcome, Rejection)
    assert outcome.code == "insufficient_funds"
    assert (told(outcome)["amount"], told(outcome)["shortfall"]) == (1, 1 + overdrawn)


def test_a_balancing_amount_without_a_minimum_moves_the_given_amount() -> None:
    assert moved(post(amount=50, at_most=True), account(A), account(B)).amount == 50


def test_a_balancing_amount_from_both_moves_what_the_poorer_has() -> None:
    debit = in_possession_of(20, A, minimum_balance=0)
    credit = in_possession_of(15, B, normal_side="debit", minimum_balance=0)
    assert moved(post(amount=50, at_most=True), debit, credit).amount == 15


def test_a_balancing_amount_is_not_cut_to_the_room_under_a_maximum() -> None:
    """A balancing amount adapts to the debit account only: if it does not fit under the maximum, nothing moves."""
    debit, credit = in_possession_of(20, A, minimum_balance=0), account(B, maximum_balance=10)
    outcome = decided(post(amount=50, at_most=True), debit, credit)
    assert isinstance(outcome, Rejection)
    assert outcome.code == "balance_limit_exceeded"
    assert (told(outcome)["amount"], told(outcome)["excess"]) == (20, 10)


def test_the_balancing_amount_is_fixed_before_the_counters_are_checked() -> None:
    debit = account(A, debits_posted=INT64_MAX - 10, credits_posted=INT64_MAX, minimum_balance=0)
    assert moved(post(amount=INT64_MAX, at_most=True), debit, account(B)).amount == 10
