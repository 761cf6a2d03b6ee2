"""The rules that transfers and holds share, at their edges, on accounts of either normal side."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from service.domain.accounts import Account
from service.domain.checks import (
    available_amount,
    check_currency,
    check_end,
    check_expiry,
    check_maximum,
    check_minimum,
    check_overflow,
    check_sides,
    check_status,
    check_value_date,
    find_accounts,
    first_day,
)
from service.domain.limits import INT64_MAX
from service.domain.order import STEP, Moment
from service.domain.rejections import ClockBehind, Rejection
from tests.support.domain_samples import INSTANT, MOMENT, NOW, POLICY, A, B, C, account, in_possession_of
from tests.support.rejections import told

UNBOUNDED = account(C)


def named(rejection: Rejection | None) -> tuple[str, str] | None:
    """Return the rejection's rule and the account that it names."""
    return None if rejection is None else (rejection.code, told(rejection)["account_id"])


def falling(balance: int, *, held: int = 0, **fields: Any) -> list[tuple[Account, Account]]:
    """Return the two ways to take from an account with ``fields``, each as (debit, credit): the account is debited if
    credit is its normal side, and credited if debit is.
    """
    return [
        (in_possession_of(balance, A, debits_held=held, **fields), UNBOUNDED),
        (UNBOUNDED, in_possession_of(balance, A, normal_side="debit", credits_held=held, **fields)),
    ]


def rising(balance: int, *, held: int = 0, **fields: Any) -> list[tuple[Account, Account]]:
    """Return the two ways to give to an account with ``fields``, each as (debit, credit)."""
    return [
        (UNBOUNDED, in_possession_of(balance, A, debits_held=held, **fields)),
        (in_possession_of(balance, A, normal_side="debit", credits_held=held, **fields), UNBOUNDED),
    ]


def test_a_movement_needs_two_accounts() -> None:
    rejection = check_sides(A, A)
    assert rejection
    assert (rejection.code, told(rejection)) == ("same_account", {"account_id": str(A)})
    assert check_sides(A, B) is None


def test_the_debit_account_is_looked_for_first() -> None:
    accounts = {A: account(A), B: account(B)}
    assert find_accounts(accounts, A, B) == (accounts[A], accounts[B])
    for debit, credit, missing in [(C, B, C), (A, C, C), (C, UNBOUNDED.id, C)]:
        found = find_accounts(accounts, debit, credit)
        assert isinstance(found, Rejection)
        assert named(found) == ("account_not_found", str(missing))


@pytest.mark.parametrize(
    ("debit", "credit", "rejected"),
    [
        ("open", "open", None),
        ("closed", "closed", ("account_closed", str(A))),
        ("frozen", "frozen", ("account_frozen", str(A))),
        ("open", "closed", ("account_closed", str(B))),
        ("open", "frozen", ("account_frozen", str(B))),
        ("closed", "frozen", ("account_closed", str(A))),
        ("frozen", "closed", ("account_closed", str(B))),
    ],
)
def test_both_accounts_are_open_and_closed_comes_before_frozen(
    debit: str, credit: str, rejected: tuple[str, str] | None
) -> None:
    assert named(check_status(account(A, status=debit), account(B, status=credit))) == rejected


@pytest.mark.parametrize(
    ("debit", "credit", "rejected"), [("USD", "USD", None), ("EUR", "EUR", A), ("EUR", "USD", A), ("USD", "EUR", B)]
)
def test_both_accounts_hold_the_currency(debit: str, credit: str, rejected: object) -> None:
    rejection = check_currency(account(A, currency=debit), account(B, currency=credit), "USD")
    assert named(rejection) == (rejected and ("currency_mismatch", str(rejected)))
    if rejection:
        assert told(rejection) == {"account_id": str(rejected), "account_currency": "EUR", "currency": "USD"}


@pytest.mark.parametrize(("posted", "held"), [(1, 0), (INT64_MAX - 10, 0), (0, INT64_MAX - 10), (40, INT64_MAX - 50)])
@pytest.mark.parametrize("side", ["debit", "credit"])
def test_a_counter_is_full_when_posted_and_held_reach_the_largest_number(side: str, posted: int, held: int) -> None:
    full = account(A, **{f"{side}s_posted": posted, f"{side}s_held": held})
    debit, credit = (full, UNBOUNDED) if side == "debit" else (UNBOUNDED, full)
    room = INT64_MAX - posted - held
    assert check_overflow(debit, credit, room) is None
    rejection = check_overflow(debit, credit, room + 1)
    assert rejection
    assert rejection.code == "balance_overflow"
    assert told(rejection) == {
        "account_id": str(A),
        "side": side,
        "posted": posted,
        "held": held,
        "amount": room + 1,
    }


def test_the_counters_of_the_other_side_are_not_checked() -> None:
    other_side_full = account(A, credits_posted=INT64_MAX), account(B, debits_posted=INT64_MAX)
    assert check_overflow(*other_side_full, INT64_MAX) is None


def test_of_two_full_counters_the_debit_account_is_named() -> None:
    rejection = check_overflow(account(A, debits_posted=INT64_MAX), account(B, credits_posted=INT64_MAX), 1)
    assert named(rejection) == ("balance_overflow", str(A))


@pytest.mark.parametrize("way", [0, 1], ids=["debit of a credit account", "credit of a debit account"])
@pytest.mark.parametrize(
    ("balance", "held", "minimum", "room"),
    [
        (100, 0, 0, 100),
        (100, 30, 0, 70),
        (100, 0, 40, 60),
        (100, 30, -20, 90),
        (0, 0, 0, 0),
        (0, 0, -25, 25),
        (0, 25, -25, 0),
        (100, 0, -INT64_MAX, INT64_MAX + 100),
        (INT64_MAX, 0, -INT64_MAX, 2 * INT64_MAX),
    ],
)
def test_what_falls_keeps_its_minimum_in_the_available_balance(
    way: int, balance: int, held: int, minimum: int, room: int
) -> None:
    debit, credit = falling(balance, held=held, minimum_balance=minimum)[way]
    assert check_minimum(debit, credit, room) is None
    rejection = check_minimum(debit, credit, room + 1)
    assert rejection
    assert rejection.code == "insufficient_funds"
    assert told(rejection) == {
        "account_id": str(A),
        "balance": balance,
        "held": held,
        "available_balance": balance - held,
        "minimum_balance": minimum,
        "amount": room + 1,
        "shortfall": 1,
    }


@pytest.mark.parametrize("way", [0, 1])
def test_what_falls_without_a_minimum_falls_without_end(way: int) -> None:
    debit, credit = falling(0, held=5, minimum_balance=None)[way]
    assert check_minimum(debit, credit, INT64_MAX) is None
    assert available_amount(debit, credit, INT64_MAX) == INT64_MAX


@pytest.mark.parametrize("way", [0, 1])
def test_the_minimum_of_an_account_that_rises_is_not_checked(way: int) -> None:
    debit, credit = rising(0, minimum_balance=0)[way]
    assert check_minimum(debit, credit, INT64_MAX) is None
    assert available_amount(debit, credit, 10) == 10


def test_when_both_fall_both_are_checked_debit_first() -> None:
    debit, credit = in_possession_of(20, A), in_possession_of(30, B, normal_side="debit")
    credit.minimum_balance = 0
    assert named(check_minimum(debit, credit, 31)) == ("insufficient_funds", str(B))
    debit.minimum_balance = 0
    assert named(check_minimum(debit, credit, 31)) == ("insufficient_funds", str(A))
    assert named(check_minimum(debit, credit, 21)) == ("insufficient_funds", str(A))
    assert check_minimum(debit, credit, 20) is None


@pytest.mark.parametrize("way", [0, 1], ids=["credit of a credit account", "debit of a debit account"])
@pytest.mark.parametrize(
    ("balance", "maximum", "room"),
    [(0, 0, 0), (0, 50, 50), (100, 100, 0), (100, 130, 30), (0, INT64_MAX, INT64_MAX)],
)
def test_what_rises_keeps_its_maximum(way: int, balance: int, maximum: int, room: int) -> None:
    debit, credit = rising(balance, maximum_balance=maximum)[way]
    assert check_maximum(debit, credit, room) is None
    rejection = check_maximum(debit, credit, room + 1)
    assert rejection
    assert rejection.code == "balance_limit_exceeded"
    assert told(rejection) == {
        "account_id": str(A),
        "balance": balance,
        "maximum_balance": maximum,
        "amount": room + 1,
        "excess": 1,
    }


def test_a_maximum_below_zero_keeps_an_account_in_debt() -> None:
    indebted = account(B, debits_posted=100, maximum_balance=-40)
    assert check_maximum(UNBOUNDED, indebted, 60) is None
    assert named(check_maximum(UNBOUNDED, indebted, 61)) == ("balance_limit_exceeded", str(B))


@pytest.mark.parametrize("way", [0, 1])
def test_what_is_held_makes_no_room_under_a_maximum(way: int) -> None:
    debit, credit = rising(100, held=50, maximum_balance=100)[way]
    assert named(check_maximum(debit, credit, 1)) == ("balance_limit_exceeded", str(A))


@pytest.mark.parametrize("way", [0, 1])
def test_what_rises_without_a_maximum_rises_without_end(way: int) -> None:
    debit, credit = rising(100, maximum_balance=None)[way]
    assert check_maximum(debit, credit, INT64_MAX) is None


@pytest.mark.parametrize("way", [0, 1])
def test_the_maximum_of_an_account_that_falls_is_not_checked(way: int) -> None:
    debit, credit = falling(100, maximum_balance=100)[way]
    assert check_maximum(debit, credit, 50) is None


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize(
    ("given", "balance", "held", "minimum", "moves"),
    [(50, 100, 0, 0, 50), (100, 100, 0, 0, 100), (101, 100, 0, 0, 100), (500, 100, 30, -5, 75), (10, 0, 0, 0, 0)],
)
def test_what_is_available_lies_above_the_minimum(
    way: int, given: int, balance: int, held: int, minimum: int, moves: int
) -> None:
    assert available_amount(*falling(balance, held=held, minimum_balance=minimum)[way], given) == moves


@pytest.mark.parametrize(("mine", "yours", "moves"), [(20, 30, 20), (30, 20, 20), (20, 20, 20), (0, 20, 0)])
def test_when_both_fall_the_lesser_is_available(mine: int, yours: int, moves: int) -> None:
    debit = in_possession_of(mine, A, minimum_balance=0)
    credit = in_possession_of(yours, B, normal_side="debit", minimum_balance=0)
    assert available_amount(debit, credit, 100) == moves


@pytest.mark.parametrize(
    ("effective_at", "allowed"),
    [
        (None, True),
        (NOW, True),
        (NOW - POLICY.effective_past_max, True),
        (NOW - POLICY.effective_past_max - INSTANT, False),
        (NOW + POLICY.effective_future_max, True),
        (NOW + POLICY.effective_future_max + INSTANT, False),
    ],
)
def test_a_value_date_lies_in_the_window(effective_at: datetime | None, *, allowed: bool) -> None:
    rejection = check_value_date(effective_at, MOMENT, first=NOW - POLICY.effective_past_max - INSTANT)
    assert (rejection is None) == allowed
    if rejection:
        assert rejection.code == "time_out_of_range"
        assert told(rejection)["field"] == "effective_at"
        assert told(rejection)["earliest"] == "2025-12-01T12:00:00Z"
        assert told(rejection)["latest"] == "2026-03-31T12:00:00Z"


@pytest.mark.parametrize("first", [NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)])
def test_a_value_date_does_not_lie_before_what_it_refers_to(first: datetime) -> None:
    assert check_value_date(None, MOMENT, first=first) is None
    assert check_value_date(first, MOMENT, first=first) is None
    rejection = check_value_date(first - INSTANT, MOMENT, first=first)
    assert rejection
    assert (rejection.code, told(rejection)["field"]) == ("time_out_of_range", "effective_at")
    assert datetime.fromisoformat(told(rejection)["earliest"]) == first


def test_what_it_refers_to_may_lie_beyond_the_window() -> None:
    """The window may have been wider before. A value date that is allowed exists all the same."""
    first = NOW + POLICY.effective_future_max + timedelta(days=1)
    assert check_value_date(first, MOMENT, first=first) is None
    assert check_value_date(first + INSTANT, MOMENT, first=first)


@pytest.mark.parametrize(
    ("created_at", "day"),
    [
        ("2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z"),
        ("2026-02-28T23:59:59.999999Z", "2026-02-28T00:00:00Z"),
        ("2026-03-01T00:30:00+01:00", "2026-02-28T00:00:00Z"),
    ],
)
def test_an_accounts_first_day_is_one_of_utc(created_at: str, day: str) -> None:
    opened = account(A, created_at=datetime.fromisoformat(created_at))
    assert first_day(opened) == datetime.fromisoformat(day)


@pytest.mark.parametrize(
    ("expires_at", "allowed"),
    [
        (NOW - timedelta(days=1), False),
        (NOW, False),
        (NOW + INSTANT, True),
        (NOW + POLICY.hold_duration_max, True),
        (NOW + POLICY.hold_duration_max + INSTANT, False),
    ],
)
def test_a_hold_expires_after_now_and_not_too_late(expires_at: datetime, *, allowed: bool) -> None:
    rejection = check_expiry(expires_at, MOMENT)
    assert (rejection is None) == allowed
    if rejection:
        assert rejection.code == "time_out_of_range"
        assert told(rejection)["field"] == "expires_at"
        assert told(rejection)["earliest"] == "2026-03-01T12:00:00Z"
        assert told(rejection)["latest"] == "2026-04-01T12:00:00Z"


def test_what_the_clock_has_not_reached_and_the_order_has_is_not_decided_now() -> None:
    """Of a hold: from the place on, and as long as its end lies behind the clock."""
    moment = Moment.after(NOW + timedelta(seconds=1), NOW, POLICY)
    decided = {
        None: False,
        NOW: False,
        NOW + STEP: True,
        moment.place: True,
        moment.place + STEP: False,
    }
    assert {ends_at: isinstance(check_end(ends_at, moment), ClockBehind) for ends_at in decided} == decided
