"""The decision on one transfer: every rule, in its documented order."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from service.domain import rejections
from service.domain.accounts import Account, AccountStatus, NormalSide
from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.domain.limits import INT64_MAX
from service.domain.rejections import Rejection
from service.domain.transfers import PostTransfer, Transfer

# A member of an enumeration is slower to reach than a name, and this is the hot path.
_CREDIT = NormalSide.CREDIT.value
_OPEN = AccountStatus.OPEN.value


def decide(
    command: PostTransfer, accounts: Mapping[UUID, Account], *, transfer_id: UUID, group_id: UUID | None, now: datetime
) -> Transfer | Rejection:
    """Decide ``command`` on the accounts as they are; nothing is changed (``book.Book`` applies the answer).

    ``group_id`` is shared by the transfers that apply together, None for one that applies alone.

    The first rule that refuses gives the answer. In this order, the debit account before the credit account:
    same_account, currency_unknown, account_not_found, account_closed, account_frozen, currency_mismatch,
    balance_overflow, insufficient_funds, balance_limit_exceeded.
    """
    debit_id, credit_id = command.debit_account_id, command.credit_account_id
    amount, currency = command.amount, command.currency
    if debit_id == credit_id:
        return rejections.same_account(debit_id)
    if currency not in MINOR_UNIT_EXPONENTS:
        return rejections.currency_unknown(currency)
    debit, credit = accounts.get(debit_id), accounts.get(credit_id)
    if debit is None:
        return rejections.account_not_found(debit_id)
    if credit is None:
        return rejections.account_not_found(credit_id)

    refusal = (
        _check_status(debit, credit)
        or _check_currency(debit, credit, currency)
        or _check_overflow(debit, credit, amount)
        or _check_bounds(debit, credit, amount)
    )
    if refusal is not None:
        return refusal

    return Transfer(
        ledger_id=command.ledger_id,
        id=transfer_id,
        debit_account_id=debit.id,
        credit_account_id=credit.id,
        amount=amount,
        currency=currency,
        debit_account_version=debit.version + 1,
        credit_account_version=credit.version + 1,
        debit_balance_after=debit.balance + (-amount if debit.normal_side == _CREDIT else amount),
        credit_balance_after=credit.balance + (amount if credit.normal_side == _CREDIT else -amount),
        group_id=group_id,
        reference=command.reference,
        description=command.description,
        metadata=command.metadata,
        effective_at=command.effective_at or now,
        created_at=now,
    )


def _check_status(debit: Account, credit: Account) -> Rejection | None:
    if debit.status == credit.status == _OPEN:
        return None
    for account in (debit, credit):
        if account.status == AccountStatus.CLOSED:
            return rejections.account_closed(account.id)
    for account in (debit, credit):
        if account.status == AccountStatus.FROZEN:
            return rejections.account_frozen(account.id)
    raise AssertionError(f"unknown account status: {debit.status}, {credit.status}")


def _check_currency(debit: Account, credit: Account, currency: str) -> Rejection | None:
    for account in (debit, credit):
        if account.currency != currency:
            return rejections.currency_mismatch(account.id, account_currency=account.currency, currency=currency)
    return None


def _check_overflow(debit: Account, credit: Account, amount: int) -> Rejection | None:
    """Posted and held together must fit: a captured hold must never find its counter full."""
    if debit.debits_posted + debit.debits_held > INT64_MAX - amount:
        return rejections.balance_overflow(
            debit.id, side="debit", posted=debit.debits_posted, held=debit.debits_held, amount=amount
        )
    if credit.credits_posted + credit.credits_held > INT64_MAX - amount:
        return rejections.balance_overflow(
            credit.id, side="credit", posted=credit.credits_posted, held=credit.credits_held, amount=amount
        )
    return None


def _check_bounds(debit: Account, credit: Account, amount: int) -> Rejection | None:
    """The side that falls keeps its minimum (available balance), the side that rises its maximum (balance)."""
    debit_falls = debit.normal_side == _CREDIT
    credit_falls = credit.normal_side != _CREDIT
    for account, falls in ((debit, debit_falls), (credit, credit_falls)):
        minimum = account.minimum_balance
        if falls and minimum is not None and account.available_balance - amount < minimum:
            return rejections.insufficient_funds(
                account.id,
                available_balance=account.available_balance,
                minimum_balance=minimum,
                amount=amount,
            )
    for account, falls in ((debit, debit_falls), (credit, credit_falls)):
        maximum = account.maximum_balance
        if not falls and maximum is not None and account.balance + amount > maximum:
            return rejections.balance_limit_exceeded(
                account.id, balance=account.balance, maximum_balance=maximum, amount=amount
            )
    return None
