"""Closing a period: what may be closed, what is opened again, and what becomes of what is dated into it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from service.domain.decide import decide_capture, decide_reversal, decide_transfer
from service.domain.decisions import Key
from service.domain.history import period_closed
from service.domain.order import ClosedPeriod
from service.domain.periods import LEDGER_ITSELF, Closing, ClosingTerms, decide_closing
from service.domain.rejections import PeriodClosed, Rejection
from service.domain.rules import CLOSING_RULES
from service.domain.transfers import Transfer
from tests.support.domain_samples import (
    CLIENT,
    EARLIER,
    INSTANT,
    LATER,
    LEDGER,
    MOMENT,
    NEW_ID,
    NOW,
    A,
    B,
    account,
    capture,
    hold,
    in_possession_of,
    post,
    reverse,
    transfer,
)

DAY = timedelta(days=1)
CLOSED = ClosedPeriod(NOW - DAY, "reject")


def closing(until: datetime | None, *, now: ClosedPeriod | None = None, reason: str | None = None) -> Any:
    asked = ClosingTerms(closed_until=until, late_entries="reject", reason=reason)
    return decide_closing(asked, structs.replace(MOMENT, period=now), new_id=NEW_ID, client_id=CLIENT)


# In the order of the rules; each also breaks all later ones.
REJECTED: list[tuple[datetime | None, ClosedPeriod | None, str | None, str]] = [
    (NOW + INSTANT, ClosedPeriod(NOW + DAY, "reject"), None, "time_out_of_range"),
    (NOW + INSTANT, None, "because", "time_out_of_range"),
    (CLOSED.until - INSTANT, CLOSED, None, "reason_missing"),
    (CLOSED.until - INSTANT, CLOSED, " \n", "reason_missing"),
    (None, CLOSED, "", "reason_missing"),
]


@pytest.mark.parametrize(("until", "now", "reason", "code"), REJECTED)
def test_what_is_not_closed(until: datetime | None, now: ClosedPeriod | None, reason: str | None, code: str) -> None:
    rejection = closing(until, now=now, reason=reason)
    assert isinstance(rejection, Rejection)
    assert rejection.code == code


def test_every_rule_of_closings_is_broken_in_its_order() -> None:
    assert list(dict.fromkeys(code for *_, code in REJECTED)) == [rule.code for rule in CLOSING_RULES]


@pytest.mark.parametrize(
    ("until", "now", "reason", "entry_type"),
    [
        (NOW, None, None, "period.closed"),
        (NOW, CLOSED, None, "period.closed"),
        (CLOSED.until, CLOSED, None, "period.closed"),
        (None, None, None, "period.closed"),
        (CLOSED.until - INSTANT, CLOSED, "a late invoice", "period.reopened"),
        (None, CLOSED, "a late invoice", "period.reopened"),
    ],
)
def test_what_is_closed(until: datetime | None, now: ClosedPeriod | None, reason: str | None, entry_type: str) -> None:
    made = closing(until, now=now, reason=reason)
    assert made == Closing(
        id=NEW_ID, closed_until=until, late_entries="reject", reason=reason, client_id=CLIENT, created_at=NOW
    )
    key = Key(ledger_id=LEDGER, client_id=CLIENT, idempotency_key="k", fingerprint=b"", operation="close_period")
    entry = period_closed(key, made, now)
    assert (entry.id, entry.type, entry.subject_id) == (NEW_ID, entry_type, LEDGER_ITSELF)
    assert entry.data == ClosingTerms(closed_until=until, late_entries="reject", reason=reason)


def decided(kind: str, effective_at: datetime | None, period: ClosedPeriod) -> Transfer | Rejection:
    """What an operation that moves money gives, on accounts that no other rule rejects, in a ledger so closed."""
    moment = structs.replace(MOMENT, period=period)
    facts: dict[str, Any] = {"new_id": NEW_ID, "group_id": None}
    accounts = {one.id: one for one in (in_possession_of(100, A), account(B))}
    if kind == "transfer":
        return decide_transfer(post(effective_at=effective_at), accounts, moment, **facts)
    if kind == "capture":
        found = hold(created_at=NOW - 9 * DAY)
        made = decide_capture(capture(effective_at=effective_at), found, accounts, moment, **facts)
        return made[0] if isinstance(made, tuple) else made
    reversed_one = transfer(debit_account_id=B, credit_account_id=A, effective_at=NOW - 9 * DAY)
    return decide_reversal(reverse(effective_at=effective_at), reversed_one, 0, accounts, moment, **facts)


each_kind = pytest.mark.parametrize("kind", ["transfer", "capture", "reversal"])


@each_kind
def test_nothing_is_dated_into_a_closed_period(kind: str) -> None:
    rejection = decided(kind, CLOSED.until - INSTANT, CLOSED)
    assert rejection == PeriodClosed(effective_at=CLOSED.until - INSTANT, closed_until=CLOSED.until)


@each_kind
def test_late_entries_are_dated_forward_and_marked(kind: str) -> None:
    made = decided(kind, CLOSED.until - INSTANT, ClosedPeriod(CLOSED.until, "forward"))
    assert isinstance(made, Transfer)
    assert (made.effective_at, made.requested_effective_at) == (CLOSED.until, CLOSED.until - INSTANT)


@each_kind
@pytest.mark.parametrize("late_entries", ["reject", "forward"])
@pytest.mark.parametrize("effective_at", [CLOSED.until, EARLIER, LATER, None])
def test_what_is_open_is_as_it_was(kind: str, late_entries: str, effective_at: datetime | None) -> None:
    made = decided(kind, effective_at, ClosedPeriod(CLOSED.until, late_entries))
    assert isinstance(made, Transfer)
    assert (made.effective_at, made.requested_effective_at) == (effective_at or NOW, None)
