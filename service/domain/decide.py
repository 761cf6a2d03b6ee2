"""The decisions on transfers and holds: every rule, in its documented order.

Nothing is changed here: ``book.Book`` applies the answers. Accounts are asked debit before credit. ``now`` is the
clock, by which all is decided; ``at`` is the place in the order (``order``) of what is made.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import structs

from service.domain import rejections
from service.domain.accounts import Account
from service.domain.checks import (
    CREDIT,
    available_amount,
    check_currency,
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
from service.domain.commands import CaptureHold, OpenHold, PostTransfer, ReverseTransfer
from service.domain.holds import Hold, HoldStatus
from service.domain.policy import Policy
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer

Accounts = Mapping[UUID, Account]


def decide_transfer(
    command: PostTransfer,
    accounts: Accounts,
    policy: Policy,
    *,
    new_id: UUID,
    group_id: UUID | None,
    now: datetime,
    at: datetime,
) -> Transfer | Rejection:
    """Decide on a transfer. ``group_id`` is shared by what applies together, None for what applies alone.

    The first rule that refuses gives the answer: same_account, account_not_found, account_closed, account_frozen,
    currency_mismatch, time_out_of_range, balance_overflow, insufficient_funds, balance_limit_exceeded. What moves of a
    balancing amount is settled before the last three.

    Which currencies there are is asked when an account is opened, never here: one that ISO 4217 withdraws keeps its
    accounts, and they can be emptied.
    """
    found = _usable_accounts(command, accounts)
    if isinstance(found, Rejection):
        return found
    debit, credit = found
    first = now
    if command.effective_at is not None or debit.created_at > now or credit.created_at > now:
        first = max(first_day(debit), first_day(credit))
    amount = command.amount
    if command.at_most:
        amount = max(1, available_amount(debit, credit, amount))
    return (
        check_value_date(command.effective_at, policy, now, first=first)
        or _check_room(debit, credit, amount)
        or _transfer(command, debit, credit, amount, first=first, new_id=new_id, group_id=group_id, now=now, at=at)
    )


def decide_reversal(
    command: ReverseTransfer,
    transfer: Transfer | None,
    reversed_amount: int,
    accounts: Accounts,
    policy: Policy,
    *,
    new_id: UUID,
    group_id: UUID | None,
    now: datetime,
    at: datetime,
) -> Transfer | Rejection:
    """Decide on moving ``transfer`` back, of which ``reversed_amount`` has been moved back before.

    In this order: transfer_not_found, reversal_not_reversible, already_reversed, reversal_exceeds_transfer, then from
    account_closed on as a transfer between the same accounts the other way round. Its value date does not lie before
    that of ``transfer``.

    A reversal is final: what it undid comes back by a new transfer, whose own description says why. Book-keeping
    systems commonly forbid to reverse a reversal document for the same reason: a chain of them explains nothing.
    """
    if transfer is None:
        return rejections.transfer_not_found(command.transfer_id)
    if transfer.reverses_id is not None:
        return rejections.reversal_not_reversible(transfer.id, reverses_id=transfer.reverses_id)
    rest = transfer.amount - reversed_amount
    if rest == 0:
        return rejections.already_reversed(transfer.id, amount=transfer.amount)
    amount = rest if command.amount is None else command.amount
    if amount > rest:
        return rejections.reversal_exceeds_transfer(
            transfer.id, transfer_amount=transfer.amount, reversed_amount=reversed_amount, amount=amount
        )
    debit, credit = accounts[transfer.credit_account_id], accounts[transfer.debit_account_id]
    first = transfer.effective_at
    return (
        check_status(debit, credit)
        or check_value_date(command.effective_at, policy, now, first=first)
        or _check_room(debit, credit, amount)
        or _transfer(
            command,
            debit,
            credit,
            amount,
            first=first,
            new_id=new_id,
            group_id=group_id,
            reverses_id=transfer.id,
            now=now,
            at=at,
        )
    )


def decide_hold(
    command: OpenHold,
    accounts: Accounts,
    policy: Policy,
    *,
    new_id: UUID,
    group_id: UUID | None,
    now: datetime,
    at: datetime,
) -> Hold | Rejection:
    """Decide on opening a hold. In this order: same_account, account_not_found, account_closed, account_frozen,
    currency_mismatch, time_out_of_range, balance_overflow, insufficient_funds. Maximum balances are asked at capture:
    only then do balances rise.
    """
    found = _usable_accounts(command, accounts)
    if isinstance(found, Rejection):
        return found
    debit, credit = found
    expires_at = expiry(command, policy, now)
    return (
        check_expiry(expires_at, policy, now)
        or check_overflow(debit, credit, command.amount)
        or check_minimum(debit, credit, command.amount)
        or Hold(
            ledger_id=command.ledger_id,
            id=new_id,
            debit_account_id=debit.id,
            credit_account_id=credit.id,
            amount=command.amount,
            currency=command.currency,
            expires_at=expires_at,
            debit_account_version=debit.version + 1,
            credit_account_version=credit.version + 1,
            group_id=group_id,
            reference=command.reference,
            description=command.description,
            metadata=command.metadata,
            created_at=at,
        )
    )


def expiry(command: OpenHold, policy: Policy, now: datetime) -> datetime:
    """Return when the hold is to expire that ``command`` opens ``now``."""
    if command.expires_at is not None:
        return command.expires_at
    if command.expires_in_seconds is not None:
        return now + timedelta(seconds=command.expires_in_seconds)
    return now + policy.hold_duration_default


def decide_capture(
    command: CaptureHold,
    hold: Hold | None,
    accounts: Accounts,
    policy: Policy,
    *,
    new_id: UUID,
    group_id: UUID | None,
    now: datetime,
    at: datetime,
) -> tuple[Transfer, Hold] | Rejection:
    """Decide on capturing ``hold``; return the transfer and the hold after it.

    In this order: hold_not_found, hold_expired, hold_not_open, capture_exceeds_hold, account_closed, account_frozen,
    time_out_of_range, balance_limit_exceeded. Its value date does not lie before the opening of ``hold``. Minimum
    balances and counters were asked when the hold was opened: what it reserves is there.
    """
    if hold is None:
        return rejections.hold_not_found(command.hold_id)
    refusal = check_open(hold, now)
    if refusal is not None:
        return refusal
    amount = hold.reserved if command.amount is None else command.amount
    if amount > hold.reserved:
        return rejections.capture_exceeds_hold(
            hold.id, hold_amount=hold.amount, captured_amount=hold.captured_amount, amount=amount
        )
    debit, credit = accounts[hold.debit_account_id], accounts[hold.credit_account_id]
    first = hold.created_at
    refusal = (
        check_status(debit, credit)
        or check_value_date(command.effective_at, policy, now, first=first)
        or check_maximum(debit, credit, amount)
    )
    if refusal is not None:
        return refusal
    transfer = _transfer(
        command,
        debit,
        credit,
        amount,
        first=first,
        new_id=new_id,
        group_id=group_id,
        hold_id=hold.id,
        now=now,
        at=at,
    )
    captured = structs.replace(hold, captured_amount=hold.captured_amount + amount)
    if command.final or captured.reserved == 0:
        return transfer, close_hold(captured, HoldStatus.CAPTURED, accounts, at)
    return transfer, captured


def decide_void(
    hold_id: UUID, hold: Hold | None, accounts: Accounts, *, now: datetime, at: datetime
) -> Hold | Rejection:
    """Decide on voiding ``hold``; return it as voided. In this order: hold_not_found, hold_expired, hold_not_open.
    Accounts may be frozen: a release is not a movement.
    """
    if hold is None:
        return rejections.hold_not_found(hold_id)
    return check_open(hold, now) or close_hold(hold, HoldStatus.VOIDED, accounts, at)


def check_open(hold: Hold, now: datetime) -> Rejection | None:
    """An open hold has not reached its end (hold_expired, also before the sweeper came by; hold_not_open)."""
    if hold.status == HoldStatus.EXPIRED or (hold.status == HoldStatus.OPEN and hold.expires_at <= now):
        return rejections.hold_expired(hold.id, expires_at=hold.expires_at)
    if hold.status != HoldStatus.OPEN:
        return rejections.hold_not_open(hold.id, status=hold.status, captured_amount=hold.captured_amount)
    return None


def close_hold(hold: Hold, status: HoldStatus, accounts: Accounts, at: datetime) -> Hold:
    """Return ``hold`` with its final status, at its place in the order; both accounts change with it."""
    return structs.replace(
        hold,
        status=status.value,
        closed_debit_account_version=accounts[hold.debit_account_id].version + 1,
        closed_credit_account_version=accounts[hold.credit_account_id].version + 1,
        closed_at=at,
    )


def _usable_accounts(command: PostTransfer | OpenHold, accounts: Accounts) -> tuple[Account, Account] | Rejection:
    """Return both accounts; in this order: same_account, account_not_found, account_closed, account_frozen,
    currency_mismatch.
    """
    refusal = check_sides(command.debit_account_id, command.credit_account_id)
    if refusal is not None:
        return refusal
    found = find_accounts(accounts, command.debit_account_id, command.credit_account_id)
    if isinstance(found, Rejection):
        return found
    return check_status(*found) or check_currency(*found, command.currency) or found


def _check_room(debit: Account, credit: Account, amount: int) -> Rejection | None:
    return (
        check_overflow(debit, credit, amount)
        or check_minimum(debit, credit, amount)
        or check_maximum(debit, credit, amount)
    )


def _transfer(
    command: PostTransfer | ReverseTransfer | CaptureHold,
    debit: Account,
    credit: Account,
    amount: int,
    *,
    first: datetime,
    new_id: UUID,
    group_id: UUID | None,
    now: datetime,
    at: datetime,
    hold_id: UUID | None = None,
    reverses_id: UUID | None = None,
) -> Transfer:
    """Return the transfer; without a value date of its own it has now, or ``first`` if that comes later."""
    return Transfer(
        ledger_id=command.ledger_id,
        id=new_id,
        debit_account_id=debit.id,
        credit_account_id=credit.id,
        amount=amount,
        currency=debit.currency,
        debit_account_version=debit.version + 1,
        credit_account_version=credit.version + 1,
        debit_balance_after=debit.balance + (-amount if debit.normal_side == CREDIT else amount),
        credit_balance_after=credit.balance + (amount if credit.normal_side == CREDIT else -amount),
        hold_id=hold_id,
        reverses_id=reverses_id,
        group_id=group_id,
        reference=command.reference,
        description=command.description,
        metadata=command.metadata,
        effective_at=command.effective_at or max(now, first),
        created_at=at,
    )
