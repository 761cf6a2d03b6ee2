"""What became of a key, as a caller is told."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from .answers import problem_error
from .errors import ProblemError
from .exchange import Answer
from .wire.keys import KeyStatus, KeyView
from .wire.times import Time
from .wire.views import AccountView, HoldView, TransferView


class KeyOutcome(Struct, frozen=True, kw_only=True):
    """What stands under a key: what was made, or the ``error`` that the request met."""

    idempotency_key: str
    outcome: KeyStatus
    operation: str | None
    decided_at: Time | None
    transfer: TransferView | None
    hold: HoldView | None
    account: AccountView | None
    error: ProblemError[Any] | None


class _View(KeyView, frozen=True, kw_only=True):
    """What is told of a key, whose problem may have a code that this version does not know."""

    problem: Raw | UnsetType = UNSET  # type: ignore[assignment]


_view = msgspec.json.Decoder(_View)


def read_outcome(answer: Answer) -> KeyOutcome:
    """Return what an answer tells of a key. Raises msgspec.MsgspecError."""
    view = _view.decode(answer.body)
    return KeyOutcome(
        idempotency_key=view.idempotency_key,
        outcome=view.outcome,
        operation=view.operation,
        decided_at=view.decided_at,
        transfer=None if view.transfer is UNSET else view.transfer,
        hold=None if view.hold is UNSET else view.hold,
        account=None if view.account is UNSET else view.account,
        error=None if view.problem is UNSET else problem_error(bytes(view.problem)),
    )
