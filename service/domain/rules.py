"""The order of the rules: for every operation, the rejections that it can meet, in the order of their checks.

The first rule that rejects gives the answer; of two accounts, the debit account is checked before the credit account.
This is where the order is documented: the OpenAPI document is made from it, and the tests hold every check to it.
"""

from collections.abc import Mapping

from .operations import Operation
from .rejections import (
    AccountClosed,
    AccountFrozen,
    AccountNotEmpty,
    AccountNotFound,
    AlreadyReversed,
    BalanceLimitExceeded,
    BalanceOverflow,
    CaptureExceedsHold,
    ClockBehind,
    CurrencyMismatch,
    CurrencyUnknown,
    DebitNotAllowed,
    HoldExpired,
    HoldNotFound,
    HoldNotOpen,
    IdempotencyKeyReused,
    InsufficientFunds,
    InternalError,
    KeyFenced,
    PeriodClosed,
    ReasonMissing,
    ReferenceTaken,
    Rejection,
    ReversalExceedsTransfer,
    ReversalNotReversible,
    SameAccount,
    TimeOutOfRange,
    TransferNotFound,
    VersionMismatch,
)

Rules = tuple[type[Rejection], ...]

KEY_RULES: Rules = (KeyFenced, IdempotencyKeyReused)
"""What is checked of every request with a key before anything else (``idempotency``)."""

COMMAND_RULES: Rules = (*KEY_RULES, ClockBehind)
"""What is checked of every request that writes to a ledger, before its own rules."""

DEBIT_RULES: Rules = (*COMMAND_RULES, DebitNotAllowed)
"""What is checked of every request that debits an account, or frees what a hold reserves, before its own rules."""

NOT_REMEMBERED: Rules = (*DEBIT_RULES, InternalError)
"""What is never stored, because the key is taken, the cause passes or another token may."""

_ACCOUNTS: Rules = (SameAccount, AccountNotFound, AccountClosed, AccountFrozen, CurrencyMismatch)
_ROOM: Rules = (BalanceOverflow, InsufficientFunds, BalanceLimitExceeded)
_OPEN_HOLD: Rules = (HoldNotFound, HoldExpired, HoldNotOpen)

TRANSFER_RULES: Rules = (*_ACCOUNTS, TimeOutOfRange, PeriodClosed, *_ROOM)

REVERSAL_RULES: Rules = (
    TransferNotFound,
    ReversalNotReversible,
    AlreadyReversed,
    ReversalExceedsTransfer,
    AccountClosed,
    AccountFrozen,
    TimeOutOfRange,
    PeriodClosed,
    *_ROOM,
)

HOLD_RULES: Rules = (*_ACCOUNTS, TimeOutOfRange, BalanceOverflow, InsufficientFunds)
"""Maximum balances are checked at capture: only then do balances rise."""

CAPTURE_RULES: Rules = (
    *_OPEN_HOLD,
    CaptureExceedsHold,
    AccountClosed,
    AccountFrozen,
    TimeOutOfRange,
    PeriodClosed,
    BalanceLimitExceeded,
)
"""Minimum balances and counters were checked when the hold was opened: what it reserves is there."""

VOID_RULES: Rules = _OPEN_HOLD
"""Accounts may be frozen: a release is not a movement."""

CHANGE_RULES: Rules = (AccountClosed, AccountNotEmpty, BalanceLimitExceeded, InsufficientFunds, BalanceLimitExceeded)
"""What is checked of a change of an account: bounds must not cross, before each is held to the balance."""

REVISION_RULES: Rules = (AccountNotFound, VersionMismatch, *CHANGE_RULES)

OPENING_RULES: Rules = (CurrencyUnknown, *CHANGE_RULES[2:], ReferenceTaken)
"""A new account is open and empty: of a change, the rules of the bounds are left."""

CLOSING_RULES: Rules = (TimeOutOfRange, ReasonMissing)

RULES: Mapping[Operation, Rules] = {
    "post_transfer": (*DEBIT_RULES, *TRANSFER_RULES),
    "open_hold": (*DEBIT_RULES, *HOLD_RULES),
    "capture_hold": (*DEBIT_RULES, *CAPTURE_RULES),
    "void_hold": (*DEBIT_RULES, *VOID_RULES),
    "reverse_transfer": (*DEBIT_RULES, *REVERSAL_RULES),
    "fence_key": (ClockBehind,),
    "create_account": (*COMMAND_RULES, *OPENING_RULES),
    "revise_account": (*COMMAND_RULES, *REVISION_RULES),
    "close_period": (*COMMAND_RULES, *CLOSING_RULES),
    # A key is fenced in a ledger, and this one is in none.
    "create_ledger": (IdempotencyKeyReused, ClockBehind, ReferenceTaken),
}
"""The rules of every operation, whole."""
