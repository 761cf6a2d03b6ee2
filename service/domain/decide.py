"""The decisions on transfers and holds: every rule, in the order that ``rules`` documents.

Nothing is changed here: ``BatchState`` applies the results. The debit account is checked before the credit account.
All is decided at a ``Moment``: by its clock; its place is that of what is made.
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
    check_period,
    check_sides,
    check_status,
    check_value_date,
    find_accounts,
    first_day,
)
from service.domain.commands import CaptureHold, OpenHold, PostTransfer, ReverseTransfer
from service.domain.holds import Hold, HoldStatus
from service.domain.order import Moment
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer

Accounts = Mapping[UUID, Account]


def decide_transfer(
    command: PostTransfer,
    accounts: Accounts,
    moment: Moment,
    *,
    new_id: UUID,
    group_id: UUID | None,
) -> Transfer | Rejection:
    """Decide on a transfer. ``group_id`` is shared by what applies together, None for what applies alone.

    In the order of ``rules.TRANSFER_RULES``. What moves of a balancing amount is decided before the rules of room.

    Which currencies there are is asked when an account is opened, never here: one that ISO 4217 withdraws keeps its
    accounts, and they can be emptied.
    """
    found = _usable_accounts(command, accounts)
    if isinstance(found, Rejection):
        return found
    debit, credit = found
    place = first = moment.place
    if command.effective_at is not None or debit.created_at > place or credit.created_at > place:
        first = max(first_day(debit), first_day(credit))
    amount = command.amount
    if command.at_most:
        amount = max(1, available_amount(debit, credit, amount))
    return (
        check_value_date(command.effective_at, moment, first=first)
        or check_period(command.effective_at, moment)
        or _check_room(debit, credit, amount)
        or _transfer(command, debit, credit, amount, moment, first=first, new_id=new_id, group_id=group_id)
    )


def decide_reversal(
    command: ReverseTransfer,
    transfer: Transfer | None,
    reversed_amount: int,
    accounts: Accounts,
    moment: Moment,
    *,
    new_id: UUID,
    group_id: UUID | None,
) -> Transfer | Rejection:
    """Decide on moving ``transfer`` back, of which ``reversed_amount`` has been moved back before.

    In the order of ``rules.REVERSAL_RULES``: once the reversal itself is found possible, it is checked as a transfer
    between the same accounts the other way round. Its value date does not lie before that of ``transfer``.

    A reversal is final: what it undid comes back by a new transfer, whose own description says why. Book-keeping
    systems commonly forbid to reverse a reversal document for the same reason: a chain of them explains nothing.
    """
    if transfer is None:
        return rejections.TransferNotFound(command.transfer_id)
    if transfer.reverses_id is not None:
        return rejections.ReversalNotReversible(transfer.id, reverses_id=transfer.reverses_id)
    rest = transfer.amount - reversed_amount
    if rest == 0:
        return rejections.AlreadyReversed(transfer.id, reversed_amount=transfer.amount)
    amount = rest if command.amount is None else command.amount
    if amount > rest:
        return rejections.ReversalExceedsTransfer.of(
            transfer.id, transfer_amount=transfer.amount, reversed_amount=reversed_amount, amount=amount
        )
    debit, credit = accounts[transfer.credit_account_id], accounts[transfer.debit_account_id]
    first = transfer.effective_at
    return (
        check_status(debit, credit)
        or check_value_date(command.effective_at, moment, first=first)
        or check_period(command.effective_at, moment)
        or _check_room(debit, credit, amount)
        or _transfer(
            command,
            debit,
            credit,
            amount,
            moment,
            first=first,
            new_id=new_id,
            group_id=group_id,
            reverses_id=transfer.id,
        )
    )


def decide_hold(
    command: OpenHold,
    accounts: Accounts,
    moment: Moment,
    *,
    new_id: UUID,
    group_id: UUID | None,
) -> Hold | Rejection:
    """Decide on opening a hold, in the order of ``rules.HOLD_RULES``."""
    found = _usable_accounts(command, accounts)
    if isinstance(found, Rejection):
        return found
    debit, credit = found
    expires_at = expiry(command, moment)
    return (
        check_expiry(expires_at, moment)
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
            created_at=moment.place,
            client_id=command.client_id,
            idempotency_key=command.idempotency_key,
            request_id=command.request_id,
        )
    )


def expiry(command: OpenHold, moment: Moment) -> datetime:
    """Return when the hold is to expire that ``command`` opens at ``moment``."""
    if command.expires_at is not None:
        return command.expires_at
    if command.expires_in_seconds is not None:
        return moment.clock + timedelta(seconds=command.expires_in_seconds)
    return moment.clock + moment.policy.hold_duration_default


def decide_capture(
    command: CaptureHold,
    hold: Hold | None,
    accounts: Accounts,
    moment: Moment,
    *,
    new_id: UUID,
    group_id: UUID | None,
) -> tuple[Transfer, Hold] | Rejection:
    """Decide on capturing ``hold``; return the transfer and the hold after it.

    In the order of ``rules.CAPTURE_RULES``. Its value date does not lie before the opening of ``hold``.
    """
    if hold is None:
        return rejections.HoldNotFound(command.hold_id)
    rejection = check_open(hold, moment)
    if rejection is not None:
        return rejection
    amount = hold.reserved if command.amount is None else command.amount
    if amount > hold.reserved:
        return rejections.CaptureExceedsHold.of(
            hold.id, hold_amount=hold.amount, captured_amount=hold.captured_amount, amount=amount
        )
    debit, credit = accounts[hold.debit_account_id], accounts[hold.credit_account_id]
    first = hold.created_at
    rejection = (
        check_status(debit, credit)
        or check_value_date(command.effective_at, moment, first=first)
        or check_period(command.effective_at, moment)
        or check_maximum(debit, credit, amount)
    )
    if rejection is not None:
        return rejection
    transfer = _transfer(
        command, debit, credit, amount, moment, first=first, new_id=new_id, group_id=group_id, hold_id=hold.id
    )
    captured = structs.replace(hold, captured_amount=hold.captured_amount + amount)
    if command.final or captured.reserved == 0:
        return transfer, close_hold(captured, HoldStatus.CAPTURED, accounts, moment)
    return transfer, captured


def decide_void(hold_id: UUID, hold: Hold | None, accounts: Accounts, moment: Moment) -> Hold | Rejection:
    """Decide on voiding ``hold``, in the order of ``rules.VOID_RULES``; return it as voided."""
    if hold is None:
        return rejections.HoldNotFound(hold_id)
    return check_open(hold, moment) or close_hold(hold, HoldStatus.VOIDED, accounts, moment)


def check_open(hold: Hold, moment: Moment) -> Rejection | None:
    """An open hold has not reached its end (hold_expired, also before the sweeper came by; hold_not_open)."""
    if hold.status == HoldStatus.EXPIRED or (hold.status == HoldStatus.OPEN and hold.expires_at <= moment.clock):
        return rejections.HoldExpired(hold.id, expires_at=hold.expires_at)
    if hold.status != HoldStatus.OPEN:
        return rejections.HoldNotOpen(hold.id, hold_status=hold.status, captured_amount=hold.captured_amount)
    return None


def close_hold(hold: Hold, status: HoldStatus, accounts: Accounts, moment: Moment) -> Hold:
    """Return ``hold`` with its final status, at the place of ``moment``; both accounts change with it."""
    return structs.replace(
        hold,
        status=status.value,
        closed_debit_account_version=accounts[hold.debit_account_id].version + 1,
        closed_credit_account_version=accounts[hold.credit_account_id].version + 1,
        closed_at=moment.place,
    )


def _usable_accounts(command: PostTransfer | OpenHold, accounts: Accounts) -> tuple[Account, Account] | Rejection:
    """Return both accounts, or what the rules say of them until their currency."""
    rejection = check_sides(command.debit_account_id, command.credit_account_id)
    if rejection is not None:
        return rejection
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
    moment: Moment,
    *,
    first: datetime,
    new_id: UUID,
    group_id: UUID | None,
    hold_id: UUID | None = None,
    reverses_id: UUID | None = None,
) -> Transfer:
    """Return the transfer. A late one (``periods``) is dated forward; without a value date of its own it has that of
    its place, or ``first`` if that comes later.
    """
    effective_at, requested_at = command.effective_at, None
    if effective_at is None:
        effective_at = max(moment.place, first)
    elif moment.period is not None and moment.period.takes(effective_at):
        effective_at, requested_at = moment.period.until, effective_at
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
        effective_at=effective_at,
        created_at=moment.place,
        client_id=command.client_id,
        idempotency_key=command.idempotency_key,
        request_id=command.request_id,
        requested_effective_at=requested_at,
    )
