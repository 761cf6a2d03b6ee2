"""Opening holds: what the hold says, when it expires, and which rules do not apply yet."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from service.domain.accounts import Account
from service.domain.commands import OpenHold
from service.domain.decide import decide_hold
from service.domain.holds import Hold
from service.domain.limits import INT64_MAX
from service.domain.rejections import Rejection
from tests.support.domain_samples import (
    GROUP_ID,
    INSTANT,
    MOMENT,
    NEW_ID,
    NOW,
    POLICY,
    A,
    B,
    account,
    in_possession_of,
    open_hold,
)


def decided(command: OpenHold, debit: Account, credit: Account) -> Hold | Rejection:
    accounts = {debit.id: debit, credit.id: credit}
    return decide_hold(command, accounts, MOMENT, new_id=NEW_ID, group_id=GROUP_ID)


def code(outcome: Hold | Rejection) -> str:
    return outcome.code if isinstance(outcome, Rejection) else "applied"


def test_a_hold_has_all_terms_of_its_request() -> None:
    command = open_hold(
        A, B, 30, expires_in_seconds=60, reference="room 7", description="deposit", metadata={"night": "2"}
    )
    assert decided(command, in_possession_of(100, A, version=4), account(B, version=8)) == Hold(
        ledger_id=command.ledger_id,
        id=NEW_ID,
        debit_account_id=A,
        credit_account_id=B,
        amount=30,
        captured_amount=0,
        currency="USD",
        status="open",
        expires_at=NOW + timedelta(minutes=1),
        debit_account_version=5,
        credit_account_version=9,
        group_id=GROUP_ID,
        reference="room 7",
        description="deposit",
        metadata={"night": "2"},
        created_at=NOW,
        client_id=command.client_id,
        idempotency_key=command.idempotency_key,
    )


@pytest.mark.parametrize(
    ("terms", "expires_at"),
    [
        ({"expires_at": NOW + INSTANT}, NOW + INSTANT),
        ({"expires_in_seconds": 1}, NOW + timedelta(seconds=1)),
        ({}, NOW + POLICY.hold_duration_default),
        ({"expires_in_seconds": 31 * 86_400}, NOW + POLICY.hold_duration_max),
    ],
)
def test_a_hold_expires_when_its_request_says_or_after_the_usual_time(
    terms: dict[str, Any], expires_at: datetime
) -> None:
    outcome = decided(open_hold(**terms), in_possession_of(100, A), account(B))
    assert isinstance(outcome, Hold)
    assert outcome.expires_at == expires_at


@pytest.mark.parametrize(
    "terms",
    [
        {"expires_at": NOW},
        {"expires_at": NOW + POLICY.hold_duration_max + INSTANT},
        {"expires_in_seconds": 31 * 86_400 + 1},
    ],
)
def test_a_hold_does_not_expire_at_once_nor_live_too_long(terms: dict[str, Any]) -> None:
    assert code(decided(open_hold(**terms), in_possession_of(100, A), account(B))) == "time_out_of_range"


def test_what_other_holds_reserve_cannot_be_reserved_again() -> None:
    debit = in_possession_of(100, A, debits_held=60, minimum_balance=10)
    assert code(decided(open_hold(amount=30), debit, account(B))) == "applied"
    assert code(decided(open_hold(amount=31), debit, account(B))) == "insufficient_funds"


def test_the_credit_of_a_debit_account_is_reserved_too() -> None:
    cash = in_possession_of(100, B, normal_side="debit", credits_held=60, minimum_balance=0)
    assert code(decided(open_hold(amount=40), account(A), cash)) == "applied"
    assert code(decided(open_hold(amount=41), account(A), cash)) == "insufficient_funds"


@pytest.mark.parametrize("counter", ["debits_held", "debits_posted"])
def test_posted_and_held_leave_room_for_every_capture(counter: str) -> None:
    debit = account(A, **{counter: INT64_MAX - 9})
    assert code(decided(open_hold(amount=9), debit, account(B))) == "applied"
    assert code(decided(open_hold(amount=10), debit, account(B))) == "balance_overflow"


def test_the_maximum_is_not_checked_before_the_capture() -> None:
    full = in_possession_of(50, B, maximum_balance=50)
    assert code(decided(open_hold(), in_possession_of(100, A), full)) == "applied"
