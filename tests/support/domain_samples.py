"""Samples for tests of the rules: a time, a policy, accounts, and commands on them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from service.domain.accounts import Account
from service.domain.commands import CaptureHold, FenceKey, OpenHold, PostTransfer, ReverseTransfer, VoidHold
from service.domain.holds import Hold
from service.domain.order import Moment
from service.domain.policy import Policy
from service.domain.transfers import Transfer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
LATER = NOW + timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
OPENED_AT = datetime(2025, 6, 1, 9, tzinfo=UTC)
"""Before every value date that the policy allows."""

POLICY = Policy(
    hold_duration_default=timedelta(days=7),
    hold_duration_max=timedelta(days=31),
    effective_past_max=timedelta(days=90),
    effective_future_max=timedelta(days=30),
    clock_ahead_max=timedelta(seconds=5),
)
MOMENT = Moment(NOW, NOW, POLICY)

LEDGER = 7
CLIENT = "client"
A, B, C = UUID(int=0xA), UUID(int=0xB), UUID(int=0xC)
HOLD_ID, TRANSFER_ID = UUID(int=0x10), UUID(int=0x20)
NEW_ID, GROUP_ID = UUID(int=0x30), UUID(int=0x40)


def account(account_id: UUID = A, **fields: Any) -> Account:
    """Return an open account in USD without bounds, that nothing has happened to unless ``fields`` say otherwise."""
    usual: dict[str, Any] = {
        "currency": "USD",
        "normal_side": "credit",
        "status": "open",
        "minimum_balance": None,
        "maximum_balance": None,
        "debits_posted": 0,
        "credits_posted": 0,
        "debits_held": 0,
        "credits_held": 0,
        "version": 0,
        "created_at": OPENED_AT,
        "updated_at": EARLIER,
    }
    return Account(id=account_id, **(usual | fields))


def in_possession_of(balance: int, account_id: UUID = A, *, normal_side: str = "credit", **fields: Any) -> Account:
    """Return an account with a balance of ``balance``, not negative."""
    counter = "credits_posted" if normal_side == "credit" else "debits_posted"
    return account(account_id, normal_side=normal_side, **{counter: balance}, **fields)


def post(debit: UUID = A, credit: UUID = B, amount: int = 10, *, key: str = "post", **terms: Any) -> PostTransfer:
    usual: dict[str, Any] = {
        "debit_account_id": debit,
        "credit_account_id": credit,
        "amount": amount,
        "currency": "USD",
    }
    return PostTransfer(ledger_id=LEDGER, client_id=CLIENT, idempotency_key=key, **(usual | terms))


def open_hold(debit: UUID = A, credit: UUID = B, amount: int = 10, *, key: str = "open", **terms: Any) -> OpenHold:
    usual: dict[str, Any] = {
        "debit_account_id": debit,
        "credit_account_id": credit,
        "amount": amount,
        "currency": "USD",
    }
    return OpenHold(ledger_id=LEDGER, client_id=CLIENT, idempotency_key=key, **(usual | terms))


def capture(hold_id: UUID = HOLD_ID, *, key: str = "capture", **terms: Any) -> CaptureHold:
    return CaptureHold(ledger_id=LEDGER, client_id=CLIENT, idempotency_key=key, hold_id=hold_id, **terms)


def void(hold_id: UUID = HOLD_ID, *, key: str = "void") -> VoidHold:
    return VoidHold(ledger_id=LEDGER, client_id=CLIENT, idempotency_key=key, hold_id=hold_id)


def reverse(transfer_id: UUID = TRANSFER_ID, *, key: str = "reverse", **terms: Any) -> ReverseTransfer:
    return ReverseTransfer(ledger_id=LEDGER, client_id=CLIENT, idempotency_key=key, transfer_id=transfer_id, **terms)


def fence(key: str) -> FenceKey:
    return FenceKey(ledger_id=LEDGER, client_id=CLIENT, idempotency_key=key)


def hold(**fields: Any) -> Hold:
    """Return an open hold of 10 USD from A to B that expires after NOW, unless ``fields`` say otherwise."""
    usual: dict[str, Any] = {
        "ledger_id": LEDGER,
        "id": HOLD_ID,
        "debit_account_id": A,
        "credit_account_id": B,
        "amount": 10,
        "currency": "USD",
        "expires_at": LATER,
        "debit_account_version": 1,
        "credit_account_version": 1,
        "created_at": EARLIER,
        "client_id": CLIENT,
        "idempotency_key": "opened",
    }
    return Hold(**(usual | fields))


def transfer(**fields: Any) -> Transfer:
    """Return a transfer of 10 USD from A to B, the first of both, unless ``fields`` say otherwise."""
    usual: dict[str, Any] = {
        "ledger_id": LEDGER,
        "id": TRANSFER_ID,
        "debit_account_id": A,
        "credit_account_id": B,
        "amount": 10,
        "currency": "USD",
        "debit_account_version": 1,
        "credit_account_version": 1,
        "debit_balance_after": -10,
        "credit_balance_after": 10,
        "effective_at": EARLIER,
        "created_at": EARLIER,
        "client_id": CLIENT,
        "idempotency_key": "posted",
    }
    return Transfer(**(usual | fields))
