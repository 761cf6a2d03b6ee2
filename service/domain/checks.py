"""The rules that transfers and holds share. Each check returns the rejection of the first account that breaks it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from service.domain import rejections
from service.domain.accounts import Account, AccountStatus, NormalSide
from service.domain.limits import INT64_MAX
from service.domain.order import Moment
from service.domain.rejections import ClockBehind, Rejection

# A member of an enumeration is slower to reach than a name, and this is the hot path.
CREDIT = NormalSide.CREDIT.value
_OPEN = AccountStatus.OPEN.value


def check_sides(debit_account_id: UUID, credit_account_id: UUID) -> Rejection | None:
    """What moves goes from one account to another (same_account)."""
    return rejections.SameAccount(debit_account_id) if debit_account_id == credit_account_id else None


def check_clock(moment: Moment) -> ClockBehind | None:
    """The ledger's last place lies no further ahead of the clock than the policy follows (clock_behind)."""
    if moment.last_at - moment.clock <= moment.policy.clock_ahead_max:
        return None
    return ClockBehind.of(last_change=moment.last_at, clock=moment.clock)


def check_end(ends_at: datetime | None, moment: Moment) -> ClockBehind | None:
    """What happens to a hold that ends at ``ends_at`` is not placed there or behind it, while the clock has not reached
    that end (clock_behind).
    """
    if ends_at is None or not moment.clock < ends_at <= moment.place:
        return None
    return ClockBehind.of(last_change=moment.last_at, clock=moment.clock)


def check_value_date(effective_at: datetime | None, moment: Moment, *, first: datetime) -> Rejection | None:
    """A value date lies within the policy's window around now, and not before ``first``, where what it refers to
    begins (time_out_of_range).
    """
    if effective_at is None:
        return None
    earliest = max(moment.clock - moment.policy.effective_past_max, first)
    latest = max(moment.clock + moment.policy.effective_future_max, earliest)
    if earliest <= effective_at <= latest:
        return None
    return rejections.TimeOutOfRange("effective_at", effective_at, earliest=earliest, latest=latest)


def check_period(effective_at: datetime | None, moment: Moment) -> Rejection | None:
    """A value date does not lie in a closed period (period_closed), unless late entries are dated forward out of it."""
    period = moment.period
    if period is None or effective_at is None:
        return None
    if period.late_entries == "reject" and period.takes(effective_at):
        return rejections.PeriodClosed(effective_at=effective_at, closed_until=period.until)
    return None


def first_day(account: Account) -> datetime:
    """Return where the day begins, in UTC, on which ``account`` was opened: nothing of it has an earlier value date."""
    return account.created_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def check_expiry(expires_at: datetime, moment: Moment) -> Rejection | None:
    """A hold expires after now, and no later than the policy allows (time_out_of_range)."""
    latest = moment.clock + moment.policy.hold_duration_max
    if moment.clock < expires_at <= latest:
        return None
    return rejections.TimeOutOfRange("expires_at", expires_at, earliest=moment.clock, latest=latest)


def find_accounts(
    accounts: Mapping[UUID, Account], debit_account_id: UUID, credit_account_id: UUID
) -> tuple[Account, Account] | Rejection:
    """Return the debit account and the credit account (account_not_found)."""
    debit, credit = accounts.get(debit_account_id), accounts.get(credit_account_id)
    if debit is None:
        return rejections.AccountNotFound(debit_account_id)
    if credit is None:
        return rejections.AccountNotFound(credit_account_id)
    return debit, credit


def check_status(debit: Account, credit: Account) -> Rejection | None:
    """Both accounts are open (account_closed of either, then account_frozen of either)."""
    if debit.status == credit.status == _OPEN:
        return None
    for account in (debit, credit):
        if account.status == AccountStatus.CLOSED:
            return rejections.AccountClosed(account.id)
    for account in (debit, credit):
        if account.status == AccountStatus.FROZEN:
            return rejections.AccountFrozen(account.id)
    raise AssertionError(f"unknown account status: {debit.status}, {credit.status}")


def check_currency(debit: Account, credit: Account, currency: str) -> Rejection | None:
    """Both accounts hold the currency (currency_mismatch)."""
    for account in (debit, credit):
        if account.currency != currency:
            return rejections.CurrencyMismatch(account.id, account_currency=account.currency, currency=currency)
    return None


def check_overflow(debit: Account, credit: Account, amount: int) -> Rejection | None:
    """Posted and held together fit the counters (balance_overflow): a capture never finds its counter full."""
    if debit.debits_posted + debit.debits_held > INT64_MAX - amount:
        return rejections.BalanceOverflow(
            debit.id, side="debit", posted=debit.debits_posted, held=debit.debits_held, amount=amount
        )
    if credit.credits_posted + credit.credits_held > INT64_MAX - amount:
        return rejections.BalanceOverflow(
            credit.id, side="credit", posted=credit.credits_posted, held=credit.credits_held, amount=amount
        )
    return None


def check_minimum(debit: Account, credit: Account, amount: int) -> Rejection | None:
    """The side whose balance falls keeps its minimum in its available balance (insufficient_funds)."""
    for account, falls in ((debit, debit.normal_side == CREDIT), (credit, credit.normal_side != CREDIT)):
        minimum = account.minimum_balance
        if falls and minimum is not None and account.available_balance - amount < minimum:
            return rejections.InsufficientFunds.of(
                account.id,
                balance=account.balance,
                available_balance=account.available_balance,
                minimum_balance=minimum,
                amount=amount,
            )
    return None


def check_maximum(debit: Account, credit: Account, amount: int) -> Rejection | None:
    """The side whose balance rises keeps its maximum in its posted balance (balance_limit_exceeded)."""
    for account, rises in ((debit, debit.normal_side != CREDIT), (credit, credit.normal_side == CREDIT)):
        maximum = account.maximum_balance
        if rises and maximum is not None and account.balance + amount > maximum:
            return rejections.BalanceLimitExceeded.of(
                account.id, balance=account.balance, maximum_balance=maximum, amount=amount
            )
    return None


def available_amount(debit: Account, credit: Account, amount: int) -> int:
    """Return how much of ``amount`` can move before a side that falls reaches its minimum; 0 or less for nothing."""
    return min([amount, *rooms(debit, credit).values()])


def rooms(debit: Account, credit: Account) -> dict[UUID, int]:
    """Return how much can move before the minimum is reached, by account: of each side that falls and has one."""
    return {
        account.id: account.available_balance - account.minimum_balance
        for account, falls in ((debit, debit.normal_side == CREDIT), (credit, credit.normal_side != CREDIT))
        if falls and account.minimum_balance is not None
    }
