"""Commands: their terms, without those that were left out, and the fingerprint that covers them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec import structs

from service.domain.commands import Command, OpenHold, PostTransfer
from tests.support.domain_samples import (
    CLIENT,
    HOLD_ID,
    LEDGER,
    NOW,
    TRANSFER_ID,
    A,
    B,
    C,
    capture,
    fence,
    open_hold,
    post,
    reverse,
    void,
)

FULL: dict[str, Any] = {"reference": "r", "description": "d", "metadata": {"k": "v"}}


@pytest.mark.parametrize(
    ("command", "terms"),
    [
        (
            post(A, B, 10),
            {"debit_account_id": A, "credit_account_id": B, "amount": 10, "currency": "USD", "at_most": False},
        ),
        (
            post(A, B, 10, at_most=True, effective_at=NOW, **FULL),
            {"debit_account_id": A, "credit_account_id": B, "amount": 10, "currency": "USD", "at_most": True}
            | {"effective_at": NOW}
            | FULL,
        ),
        (open_hold(A, B, 10), {"debit_account_id": A, "credit_account_id": B, "amount": 10, "currency": "USD"}),
        (
            open_hold(A, B, 10, expires_in_seconds=60),
            {"debit_account_id": A, "credit_account_id": B, "amount": 10, "currency": "USD", "expires_in_seconds": 60},
        ),
        (capture(), {"hold_id": HOLD_ID, "final": True}),
        (capture(amount=3, final=False, **FULL), {"hold_id": HOLD_ID, "amount": 3, "final": False} | FULL),
        (void(), {"hold_id": HOLD_ID}),
        (reverse(), {"transfer_id": TRANSFER_ID}),
        (reverse(amount=3, effective_at=NOW), {"transfer_id": TRANSFER_ID, "amount": 3, "effective_at": NOW}),
        (fence("key"), {}),
    ],
)
def test_terms_contain_what_was_given_and_not_what_was_left_out(command: Command, terms: dict[str, Any]) -> None:
    assert command.terms() == terms


def test_a_command_is_named_by_ledger_client_and_key() -> None:
    command = post(key="rent")
    assert (command.ledger_id, command.client_id, command.idempotency_key) == (LEDGER, CLIENT, "rent")


def test_a_fingerprint_that_is_given_stays() -> None:
    assert structs.replace(post(), fingerprint=b"of its group").fingerprint == b"of its group"


@pytest.mark.parametrize(
    "different",
    [
        post(B, A, 10),
        post(A, C, 10),
        post(A, B, 11),
        post(A, B, 10, currency="EUR"),
        post(A, B, 10, at_most=True),
        post(A, B, 10, reference=""),
        post(A, B, 10, reference="x"),
        post(A, B, 10, description="x"),
        post(A, B, 10, metadata={"x": "y"}),
        post(A, B, 10, effective_at=NOW),
        open_hold(A, B, 10),
        fence("post"),
    ],
)
def test_the_fingerprint_covers_the_operation_and_all_its_terms(different: Command) -> None:
    assert post(A, B, 10).fingerprint != different.fingerprint


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (post(key="1"), post(key="2")),
        (post(metadata={"a": "1", "b": "2"}), post(metadata={"b": "2", "a": "1"})),
        (capture(), capture()),
        (
            post(effective_at=datetime(2026, 3, 1, 12, tzinfo=UTC)),
            post(effective_at=datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))).astimezone(UTC)),
        ),
    ],
)
def test_equal_requests_have_equal_fingerprints_under_any_key(one: Command, same: Command) -> None:
    assert one.fingerprint == same.fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (capture(), capture(final=False)),
        (capture(), capture(amount=10)),
        (capture(HOLD_ID), capture(C)),
        (void(HOLD_ID), capture(HOLD_ID)),
        (reverse(), reverse(amount=10)),
        (open_hold(expires_at=NOW), open_hold()),
        (open_hold(expires_in_seconds=60), open_hold(expires_in_seconds=61)),
    ],
)
def test_requests_that_differ_have_different_fingerprints(one: Command, other: Command) -> None:
    assert one.fingerprint != other.fingerprint


def test_operations_have_names_of_their_own() -> None:
    operations = [kind.operation for kind in Command.__subclasses__()]
    assert {PostTransfer.operation, OpenHold.operation} <= set(operations)
    assert len(set(operations)) == len(operations) == 6
