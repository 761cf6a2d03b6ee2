"""Accounts: counters, the balances that follow from them, and what an operator may change."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType, structs

from service.domain import rejections
from service.domain.fingerprints import fingerprint
from service.domain.rejections import Rejection


class NormalSide(StrEnum):
    """The side that increases an account's balance."""

    CREDIT = "credit"
    DEBIT = "debit"


class AccountStatus(StrEnum):
    """Open accounts move money; frozen ones may open again; closed is for ever."""

    OPEN = "open"
    FROZEN = "frozen"
    CLOSED = "closed"


_CREDIT = NormalSide.CREDIT.value  # a member of an enumeration is slower to reach than a name, and this is the hot path


class Account(Struct, gc=False):
    """What the rules need to know of an account. Counters and bounds are in minor units of ``currency``.

    ``version`` counts every change of the counters. A bound of None is no bound. ``created_at`` is when it was opened,
    ``updated_at`` when it last changed.
    """

    id: UUID
    currency: str
    normal_side: str
    status: str
    minimum_balance: int | None
    maximum_balance: int | None
    debits_posted: int
    credits_posted: int
    debits_held: int
    credits_held: int
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def balance(self) -> int:
        """The posted counters netted on the normal side."""
        if self.normal_side == _CREDIT:
            return self.credits_posted - self.debits_posted
        return self.debits_posted - self.credits_posted

    @property
    def available_balance(self) -> int:
        """The balance less what open holds reserve against it."""
        held = self.debits_held if self.normal_side == _CREDIT else self.credits_held
        return self.balance - held


class AccountDetails(Account, gc=False):
    """An account with what no rule asks for, but people do."""

    reference: str | None
    name: str | None
    metadata: dict[str, str]


class AccountRevision(Struct, kw_only=True, frozen=True):
    """What a caller wants changed of an account; UNSET leaves a field as it is, None removes a value."""

    name: str | None | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    minimum_balance: int | None | UnsetType = UNSET
    maximum_balance: int | None | UnsetType = UNSET
    status: str | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """Return the fields that are set, by name."""
        return {name: value for name, value in structs.asdict(self).items() if value is not UNSET}


def revision_tag(account: AccountDetails) -> str:
    """Return a digest of what a revision can change, so that a caller can say which state it wants to change.

    Counters are left out on purpose: a busy account can be revised.
    """
    return fingerprint(
        "account", account.name, account.metadata, account.minimum_balance, account.maximum_balance, account.status
    ).hex()


def check_revision(account: Account, revision: AccountRevision) -> Rejection | None:
    """Decide whether ``revision`` may be made to ``account``; None means that it may.

    In this order: a closed account changes no more (account_closed); only an empty account without holds closes
    (account_not_empty); bounds must not cross (balance_limit_exceeded); the minimum must not exceed the available
    balance (insufficient_funds); the maximum must not lie below the balance (balance_limit_exceeded).
    """
    if account.status == AccountStatus.CLOSED:
        return rejections.account_closed(account.id)
    if revision.status == AccountStatus.CLOSED and (account.balance or account.debits_held or account.credits_held):
        return rejections.account_not_empty(
            account.id, balance=account.balance, debits_held=account.debits_held, credits_held=account.credits_held
        )
    minimum = account.minimum_balance if revision.minimum_balance is UNSET else revision.minimum_balance
    maximum = account.maximum_balance if revision.maximum_balance is UNSET else revision.maximum_balance
    if minimum is not None and maximum is not None and minimum > maximum:
        return rejections.bounds_crossed(account.id, minimum_balance=minimum, maximum_balance=maximum)
    if minimum is not None and minimum > account.available_balance:
        return rejections.insufficient_funds(
            account.id,
            balance=account.balance,
            available_balance=account.available_balance,
            minimum_balance=minimum,
            amount=0,
        )
    if maximum is not None and maximum < account.balance:
        return rejections.balance_limit_exceeded(account.id, balance=account.balance, maximum_balance=maximum, amount=0)
    return None
