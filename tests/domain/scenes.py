"""Scenes in which no rule rejects the command, and for every rule a way to break it.

Breaking one rule leaves what the other rules check as it is, so any number of rules can be broken at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from msgspec import structs

from service.domain import decide, rules
from service.domain.accounts import Account
from service.domain.holds import Hold
from service.domain.limits import INT64_MAX
from service.domain.order import ClosedPeriod, Moment
from service.domain.rejections import Rejection
from service.domain.rules import Rules
from service.domain.transfers import Transfer
from tests.support.domain_samples import (
    GROUP_ID,
    LATER,
    MOMENT,
    NEW_ID,
    NOW,
    POLICY,
    A,
    B,
    account,
    capture,
    hold,
    in_possession_of,
    open_hold,
    post,
    reverse,
    transfer,
    void,
)


@dataclass
class Scene:
    """A command moves money from ``debit`` to ``credit``; ``terms`` are those of its terms that are not the usual."""

    debit: Account = field(default_factory=lambda: in_possession_of(100, A))
    credit: Account = field(default_factory=lambda: account(B))
    terms: dict[str, Any] = field(default_factory=dict)
    missing: set[UUID] = field(default_factory=set)
    hold: Hold | None = field(default_factory=hold)
    transfer: Transfer | None = field(default_factory=lambda: transfer(debit_account_id=B, credit_account_id=A))
    reversed_amount: int = 0
    moment: Moment = MOMENT

    @property
    def accounts(self) -> dict[UUID, Account]:
        return {one.id: one for one in (self.debit, self.credit) if one.id not in self.missing}


Break = Callable[[Scene], Any]
_FACTS: dict[str, Any] = {"new_id": NEW_ID, "group_id": GROUP_ID}


@dataclass(frozen=True)
class Operation:
    """An operation with its ``rules`` in order; ``decide_scene`` decides on a scene, ``breaks`` says how to break each
    rule.
    """

    rules: Rules
    decide_scene: Callable[[Scene], Any]
    breaks: dict[str, Break]

    @property
    def order(self) -> list[str]:
        """The codes of the rules, in their order."""
        return [rule.code for rule in self.rules]


def _same_account(scene: Scene) -> None:
    scene.terms["credit"] = scene.debit.id


def _account_not_found(scene: Scene) -> None:
    scene.missing.add(scene.debit.id)


def _currency_mismatch(scene: Scene) -> None:
    scene.debit.currency = scene.credit.currency = "EUR"


def _account_closed(scene: Scene) -> None:
    scene.credit.status = "closed"


def _account_frozen(scene: Scene) -> None:
    scene.debit.status = "frozen"


def _balance_overflow(scene: Scene) -> None:
    scene.debit.debits_posted = scene.debit.credits_posted = INT64_MAX


def _insufficient_funds(scene: Scene) -> None:
    scene.debit.minimum_balance = 100


def _balance_limit_exceeded(scene: Scene) -> None:
    scene.credit.maximum_balance = 0


def _hold_expired(scene: Scene) -> None:
    scene.hold = hold(status="expired")


def _hold_not_open(scene: Scene) -> None:
    scene.hold = hold(status="captured", captured_amount=10)


def _hold_not_found(scene: Scene) -> None:
    scene.hold = None


def _transfer_not_found(scene: Scene) -> None:
    scene.transfer = None


def _reversal_not_reversible(scene: Scene) -> None:
    assert scene.transfer
    scene.transfer = structs.replace(scene.transfer, reverses_id=NEW_ID)


def _already_reversed(scene: Scene) -> None:
    scene.reversed_amount = 10


def _period_closed(scene: Scene) -> None:
    scene.moment = structs.replace(scene.moment, period=ClosedPeriod(LATER, "reject"))
    scene.terms.setdefault("effective_at", NOW)


def _asking(**terms: Any) -> Break:
    return lambda scene: scene.terms.update(terms)


_OF_THE_REQUEST: dict[str, Break] = {"same_account": _same_account}
_OF_BOTH_ACCOUNTS: dict[str, Break] = {"account_closed": _account_closed, "account_frozen": _account_frozen}
_OF_ROOM: dict[str, Break] = {"balance_overflow": _balance_overflow, "insufficient_funds": _insufficient_funds}
_OF_THE_MAXIMUM: dict[str, Break] = {"balance_limit_exceeded": _balance_limit_exceeded}
_OF_HOLDS: dict[str, Break] = {
    "hold_not_found": _hold_not_found,
    "hold_expired": _hold_expired,
    "hold_not_open": _hold_not_open,
}
_OF_VALUE_DATES: dict[str, Break] = {
    "time_out_of_range": _asking(effective_at=NOW - POLICY.effective_past_max - timedelta(days=1)),
    "period_closed": _period_closed,
}

TRANSFER = Operation(
    rules.TRANSFER_RULES,
    lambda scene: decide.decide_transfer(post(**scene.terms), scene.accounts, scene.moment, **_FACTS),
    _OF_THE_REQUEST
    | _OF_VALUE_DATES
    | {"account_not_found": _account_not_found, "currency_mismatch": _currency_mismatch}
    | _OF_BOTH_ACCOUNTS
    | _OF_ROOM
    | _OF_THE_MAXIMUM,
)
HOLD = Operation(
    rules.HOLD_RULES,
    lambda scene: decide.decide_hold(open_hold(**scene.terms), scene.accounts, scene.moment, **_FACTS),
    _OF_THE_REQUEST
    | {"time_out_of_range": _asking(expires_at=NOW)}
    | {"account_not_found": _account_not_found, "currency_mismatch": _currency_mismatch}
    | _OF_BOTH_ACCOUNTS
    | _OF_ROOM,
)
CAPTURE = Operation(
    rules.CAPTURE_RULES,
    lambda scene: decide.decide_capture(capture(**scene.terms), scene.hold, scene.accounts, scene.moment, **_FACTS),
    _OF_HOLDS | {"capture_exceeds_hold": _asking(amount=11)} | _OF_VALUE_DATES | _OF_BOTH_ACCOUNTS | _OF_THE_MAXIMUM,
)
VOID = Operation(
    rules.VOID_RULES,
    lambda scene: decide.decide_void(void().hold_id, scene.hold, scene.accounts, scene.moment),
    _OF_HOLDS,
)
REVERSAL = Operation(
    rules.REVERSAL_RULES,
    lambda scene: decide.decide_reversal(
        reverse(**scene.terms), scene.transfer, scene.reversed_amount, scene.accounts, scene.moment, **_FACTS
    ),
    {
        "transfer_not_found": _transfer_not_found,
        "reversal_not_reversible": _reversal_not_reversible,
        "already_reversed": _already_reversed,
        "reversal_exceeds_transfer": _asking(amount=11),
    }
    | _OF_VALUE_DATES
    | _OF_BOTH_ACCOUNTS
    | _OF_ROOM
    | _OF_THE_MAXIMUM,
)
OPERATIONS = {"transfer": TRANSFER, "hold": HOLD, "capture": CAPTURE, "void": VOID, "reversal": REVERSAL}


def rejection(operation: Operation, broken: list[str]) -> str | None:
    """Return the code that ``operation`` is rejected with when the rules ``broken`` are broken; None when it is not."""
    scene = Scene()
    for code in reversed(broken):  # reversed, so that the earliest rule sets the status of the hold last
        operation.breaks[code](scene)
    outcome = operation.decide_scene(scene)
    return outcome.code if isinstance(outcome, Rejection) else None
