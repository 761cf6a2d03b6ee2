"""The one rule of replay: what a request is answered under whose key a decision stands."""

from typing import Any

import pytest
from msgspec import structs

from service.domain.accounts import AccountDetails
from service.domain.decisions import FENCED, Answer, Decision, Result
from service.domain.idempotency import earlier_request, replay
from service.domain.ledgers import Ledger
from service.domain.operations import Operation
from service.domain.periods import Closing
from service.domain.rejections import AccountClosed, IdempotencyKeyReused, KeyFenced
from tests.support.domain_samples import CLIENT, LEDGER, NOW, A, account, hold, transfer

OPENED = AccountDetails(**structs.asdict(account(A)), reference=None, name=None, metadata={})
CREATED = Ledger(name="main", description=None, created_at=NOW)
CLOSED = Closing(id=A, closed_until=NOW, late_entries="reject", reason=None, client_id=CLIENT, created_at=NOW)
REJECTED = AccountClosed(A)

MADE: list[tuple[Operation, Result, dict[str, Any]]] = [
    ("post_transfer", transfer(), {"outcome": "applied", "transfer_id": transfer().id}),
    ("open_hold", hold(), {"outcome": "applied", "hold_id": hold().id}),
    ("create_account", OPENED, {"outcome": "applied", "account_id": A}),
    ("create_ledger", CREATED, {"outcome": "applied", "ledger": "main"}),
    ("close_period", CLOSED, {"outcome": "applied", "closing_id": A}),
    ("revise_account", REJECTED, {"outcome": "rejected", "code": "account_closed"}),
]


def decision(operation: Operation, result: Result) -> Decision:
    return Decision(
        ledger_id=LEDGER,
        client_id=CLIENT,
        idempotency_key="key",
        fingerprint=b"this",
        operation=operation,
        result=result,
        created_at=NOW,
    )


def test_a_key_without_a_decision_is_to_be_decided() -> None:
    assert replay(None, "post_transfer", b"this") is None
    assert replay(None, "fence_key", b"this") is None


@pytest.mark.parametrize(("operation", "result", "told"), MADE)
def test_the_same_request_gets_the_same_result_and_another_is_told_of_it(
    operation: Operation, result: Result, told: dict[str, Any]
) -> None:
    earlier = decision(operation, result)
    assert replay(earlier, operation, b"this") == Answer(result, replayed=True)

    another = replay(earlier, operation, b"that")
    assert another == Answer(IdempotencyKeyReused("key", earlier_request(earlier)))
    said = {"operation": operation, "decided_at": NOW} | told
    given = structs.asdict(earlier_request(earlier))
    assert {name: given[name] for name in said} == said


@pytest.mark.parametrize("fingerprint", [b"this", b"that"])
def test_under_a_fenced_key_every_request_is_rejected(fingerprint: bytes) -> None:
    earlier = decision("fence_key", FENCED)
    assert replay(earlier, "create_account", fingerprint) == Answer(KeyFenced("key", earlier_request(earlier)))


@pytest.mark.parametrize("result", [result for _, result, _ in MADE] + [FENCED])
def test_fencing_a_key_that_is_taken_changes_nothing(result: Result) -> None:
    assert replay(decision("post_transfer", result), "fence_key", b"that") == Answer(FENCED, replayed=True)
