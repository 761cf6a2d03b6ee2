"""Accounts: counters, the balances that follow from them, and what an operator may change."""

from copy import copy
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

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
    """An account with what no rule asks for, but people do. ``client_id`` is the client that opened it, ``code`` its
    place in the chart of accounts (``codes``).
    """

    reference: str | None
    name: str | None
    metadata: dict[str, str]
    client_id: str | None = None
    code: str | None = None


class NewAccount(Struct, frozen=True, kw_only=True):
    """What a caller says of an account to be opened; bounds in minor units, None for no bound."""

    currency: str
    normal_side: str
    reference: str | None
    name: str | None
    minimum_balance: int | None
    maximum_balance: int | None
    metadata: dict[str, str]
    code: str | None = None


class AccountRevision(Struct, kw_only=True, frozen=True):
    """What a caller wants changed of an account; UNSET leaves a field as it is, None removes a value."""

    name: str | None | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    minimum_balance: int | None | UnsetType = UNSET
    maximum_balance: int | None | UnsetType = UNSET
    status: str | UnsetType = UNSET
    code: str | None | UnsetType = UNSET


def revision_tag(account: AccountDetails) -> str:
    """Return a digest of what a revision can change, so that a caller can say which state it wants to change.

    Counters are left out on purpose: a busy account can be revised. An account without a code has the tag that it had
    before there were codes.
    """
    coded = () if account.code is None else (account.code,)
    bounds = (account.minimum_balance, account.maximum_balance)
    return fingerprint("account", account.name, account.metadata, *bounds, account.status, *coded).hex()


def revised(account: AccountDetails, revision: AccountRevision, *, at: datetime) -> AccountDetails:
    """Return ``account`` as ``revision``, made at the time ``at``, leaves it."""
    after = copy(account)
    if revision.name is not UNSET:
        after.name = revision.name
    if revision.metadata is not UNSET:
        after.metadata = revision.metadata
    if revision.minimum_balance is not UNSET:
        after.minimum_balance = revision.minimum_balance
    if revision.maximum_balance is not UNSET:
        after.maximum_balance = revision.maximum_balance
    if revision.status is not UNSET:
        after.status = revision.status
    if revision.code is not UNSET:
        after.code = revision.code
    after.updated_at = at
    return after


def check_revision(account: Account, revision: AccountRevision) -> Rejection | None:
    """Decide whether ``revision`` may be made to ``account``; None means that it may.

    In the order of ``rules.CHANGE_RULES``: a closed account changes no more; only an empty account without holds
    closes; bounds must not cross; the minimum must not exceed the available balance; the maximum must not lie below the
    balance.
    """
    if account.status == AccountStatus.CLOSED:
        return rejections.AccountClosed(account.id)
    if revision.status == AccountStatus.CLOSED and (account.balance or account.debits_held or account.credits_held):
        return rejections.AccountNotEmpty(
            account.id, balance=account.balance, debits_held=account.debits_held, credits_held=account.credits_held
        )
    minimum = account.minimum_balance if revision.minimum_balance is UNSET else revision.minimum_balance
    maximum = account.maximum_balance if revision.maximum_balance is UNSET else revision.maximum_balance
    if minimum is not None and maximum is not None and minimum > maximum:
        return rejections.BalanceLimitExceeded(account_id=account.id, minimum_balance=minimum, maximum_balance=maximum)
    if minimum is not None and minimum > account.available_balance:
        return rejections.InsufficientFunds.of(
            account.id,
            balance=account.balance,
            available_balance=account.available_balance,
            minimum_balance=minimum,
            amount=0,
        )
    if maximum is not None and maximum < account.balance:
        balance = account.balance
        return rejections.BalanceLimitExceeded.of(account.id, balance=balance, maximum_balance=maximum, amount=0)
    return None
