"""Idempotency: how a request is answered whose key was used before. One rule for every operation."""

from typing import Any

from service.domain import rejections
from service.domain.accounts import AccountDetails
from service.domain.decisions import FENCED, Answer, Decision, Fenced, Result
from service.domain.earlier_requests import EarlierRequest
from service.domain.holds import Hold
from service.domain.ledgers import Ledger
from service.domain.operations import Operation
from service.domain.periods import Closing
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer


def replay(earlier: Decision | None, operation: Operation, fingerprint: bytes) -> Answer[Result] | None:
    """Return the answer to a request under whose key ``earlier`` stands; None when nothing does: it is to be decided.

    The same request (the same ``fingerprint``, which covers the operation) gets the same result again. Another one, or
    one under a fenced key, is rejected without being remembered: the key is taken. Fencing a key that is taken changes
    nothing, whatever it stands for.
    """
    if earlier is None:
        return None
    if operation == "fence_key":
        return Answer(FENCED, replayed=True)
    if isinstance(earlier.result, Fenced):
        return Answer(rejections.KeyFenced(earlier.idempotency_key, earlier_request(earlier)))
    if earlier.fingerprint != fingerprint:
        return Answer(rejections.IdempotencyKeyReused(earlier.idempotency_key, earlier_request(earlier)))
    return Answer(earlier.result, replayed=True)


def earlier_request(decision: Decision) -> EarlierRequest:
    """Return what a caller is told of ``decision`` who asks for something else under its key."""
    match decision.result:
        case Transfer(id=made):
            said: dict[str, Any] = {"transfer_id": made}
        case Hold(id=made):
            said = {"hold_id": made}
        case AccountDetails(id=made):
            said = {"account_id": made}
        case Ledger(name=made):
            said = {"ledger": made}
        case Closing(id=made):
            said = {"closing_id": made}
        case Rejection() as rejection:
            said = {"code": rejection.code}
        case Fenced():
            said = {}
    return EarlierRequest(
        operation=decision.operation, outcome=decision.outcome, decided_at=decision.created_at, **said
    )
