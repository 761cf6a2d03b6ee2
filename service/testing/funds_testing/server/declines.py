"""Rejections on demand, decided where the rules decide: stored, replayed and told as any other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from msgspec import Struct

from service.domain import rejections
from service.domain.accounts import Account, NormalSide
from service.domain.commands import CaptureHold, Command, OpenHold, ReverseTransfer, VoidHold
from service.domain.decisions import CommandResult
from service.domain.executor import Executor
from service.domain.holds import Hold, HoldStatus
from service.domain.rejections import Rejection
from service.domain.rules import RULES
from service.domain.transfers import Transfer
from service.posting import batch

_OTHER_CURRENCY = "XTS"
"""Reserved for tests by ISO 4217."""
_COUNTER_MAX = 2**63 - 1
_MOMENT = timedelta(microseconds=1)


class Facts(Struct, frozen=True):
    """What a rejection tells of: the accounts, the ``amount`` of the command, and the hold or transfer that it names.

    What is said of them is true. What is said of bounds and states is what would have to be so.
    """

    executor: Executor
    command: Command
    debit: Account
    credit: Account
    amount: int
    of_hold: Hold | None
    of_transfer: Transfer | None

    @property
    def hold(self) -> Hold:
        """The hold of a capture or a void."""
        assert self.of_hold is not None, "its rejections are met by commands of holds alone"
        return self.of_hold

    @property
    def transfer(self) -> Transfer:
        """The transfer that is reversed."""
        assert self.of_transfer is not None, "its rejections are met by reversals alone"
        return self.of_transfer


def _insufficient_funds(facts: Facts) -> Rejection:
    account = facts.debit if facts.debit.normal_side == NormalSide.CREDIT else facts.credit
    return rejections.InsufficientFunds.of(
        account.id,
        balance=account.balance,
        available_balance=account.available_balance,
        minimum_balance=account.available_balance - facts.amount + 1,
        amount=facts.amount,
    )


def _balance_limit_exceeded(facts: Facts) -> Rejection:
    account = facts.credit if facts.credit.normal_side == NormalSide.CREDIT else facts.debit
    return rejections.BalanceLimitExceeded.of(
        account.id,
        balance=account.balance,
        maximum_balance=account.balance + facts.amount - 1,
        amount=facts.amount,
    )


def _balance_overflow(facts: Facts) -> Rejection:
    return rejections.BalanceOverflow(
        facts.debit.id, side="debit", posted=_COUNTER_MAX - facts.amount + 1, held=0, amount=facts.amount
    )


def _time_out_of_range(facts: Facts) -> Rejection:
    clock = facts.executor.state.moment.clock
    field = "/expires_at" if isinstance(facts.command, OpenHold) else "/effective_at"
    return rejections.TimeOutOfRange(field, value=clock, earliest=clock + _MOMENT, latest=clock + _MOMENT)


def _period_closed(facts: Facts) -> Rejection:
    clock = facts.executor.state.moment.clock
    return rejections.PeriodClosed(effective_at=clock, closed_until=clock + _MOMENT)


def _capture_exceeds_hold(facts: Facts) -> Rejection:
    captured = facts.hold.amount - facts.amount + 1
    return rejections.CaptureExceedsHold.of(
        facts.hold.id, hold_amount=facts.hold.amount, captured_amount=captured, amount=facts.amount
    )


def _reversal_exceeds_transfer(facts: Facts) -> Rejection:
    reversed_amount = facts.transfer.amount - facts.amount + 1
    return rejections.ReversalExceedsTransfer.of(
        facts.transfer.id,
        transfer_amount=facts.transfer.amount,
        reversed_amount=reversed_amount,
        amount=facts.amount,
    )


_MADE: dict[type[Rejection], Callable[[Facts], Rejection]] = {
    rejections.SameAccount: lambda facts: rejections.SameAccount(facts.debit.id),
    rejections.AccountNotFound: lambda facts: rejections.AccountNotFound(facts.debit.id),
    rejections.AccountClosed: lambda facts: rejections.AccountClosed(facts.debit.id),
    rejections.AccountFrozen: lambda facts: rejections.AccountFrozen(facts.debit.id),
    rejections.CurrencyMismatch: lambda facts: rejections.CurrencyMismatch(
        facts.debit.id, account_currency=_OTHER_CURRENCY, currency=facts.debit.currency
    ),
    rejections.TimeOutOfRange: _time_out_of_range,
    rejections.PeriodClosed: _period_closed,
    rejections.BalanceOverflow: _balance_overflow,
    rejections.InsufficientFunds: _insufficient_funds,
    rejections.BalanceLimitExceeded: _balance_limit_exceeded,
    rejections.HoldNotFound: lambda facts: rejections.HoldNotFound(facts.hold.id),
    rejections.HoldExpired: lambda facts: rejections.HoldExpired(
        facts.hold.id, expires_at=facts.executor.state.moment.clock
    ),
    rejections.HoldNotOpen: lambda facts: rejections.HoldNotOpen(
        facts.hold.id, hold_status=HoldStatus.CAPTURED.value, captured_amount=facts.hold.amount
    ),
    rejections.CaptureExceedsHold: _capture_exceeds_hold,
    rejections.TransferNotFound: lambda facts: rejections.TransferNotFound(facts.transfer.id),
    rejections.AlreadyReversed: lambda facts: rejections.AlreadyReversed(
        facts.transfer.id, reversed_amount=facts.transfer.amount
    ),
    rejections.ReversalExceedsTransfer: _reversal_exceeds_transfer,
}

_BY_CODE = {kind.code: kind for kind in _MADE}

CODES = sorted(_BY_CODE)
"""The rejections that can be asked for."""


class Wanted(Struct):
    """A rejection that the command under a key is to meet, and whether it was."""

    code: str
    met: bool = False


class Declines:
    """The rejections that are wanted now. ``install`` it once, before the service starts."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[int, str], Wanted] = {}

    @contextmanager
    def wanting(self, ledger_id: int, idempotency_key: str, code: str) -> Iterator[Wanted]:
        """Have the command under the key rejected with ``code`` if it is decided on in this block."""
        wanted = self._wanted[ledger_id, idempotency_key] = Wanted(code)
        try:
            yield wanted
        finally:
            self._wanted.pop((ledger_id, idempotency_key), None)

    def install(self) -> None:
        """Have the batches of this process ask here before they ask the rules."""
        reject = self._reject

        class DecliningExecutor(Executor):
            """Rejects what is wanted, and decides the rest by the rules."""

            def decide(self, command: Command, group_id: UUID | None) -> CommandResult:
                rejection = None if group_id is not None else reject(self, command)
                return rejection or super().decide(command, group_id)

        batch.Executor = DecliningExecutor  # type: ignore[attr-defined]

    def _reject(self, executor: Executor, command: Command) -> Rejection | None:
        """Return the rejection that is wanted of ``command``, if it can meet it. A batch may be decided several times,
        and each time again.
        """
        wanted = self._wanted.get((command.ledger_id, command.idempotency_key))
        if wanted is None:
            return None
        kind = _BY_CODE[wanted.code]
        facts = _facts(executor, command)
        wanted.met = facts is not None and kind in RULES[command.operation]
        return _MADE[kind](facts) if facts is not None and wanted.met else None


def _facts(executor: Executor, command: Command) -> Facts | None:
    """Return what there is to tell of; None where the command names what is not there."""
    state, hold, transfer = executor.state, None, None
    amount = getattr(command, "amount", None)
    if isinstance(command, CaptureHold | VoidHold) and (hold := state.holds.get(command.hold_id)):
        amount = amount or hold.reserved
    elif isinstance(command, ReverseTransfer) and (transfer := state.transfers.get(command.transfer_id)):
        amount = amount or transfer.amount
    debit, credit = (one and state.accounts.get(one) for one in executor.accounts_of(command))
    if amount is None or not isinstance(debit, Account) or not isinstance(credit, Account):
        return None
    return Facts(executor, command, debit, credit, amount, hold, transfer)
