"""Why the rules reject a command: a type for each reason, with the numbers behind it. ``rules`` has the order.

A rejection is a decision, not an exception: it is stored under its idempotency key and replays for ever. What was ever
stored must stay readable: a type keeps its name and its fields, and a field that is added may be UNSET.
"""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType, structs

from .earlier_requests import EarlierRequest
from .reasons import Reason


class Rejection(Reason, frozen=True, kw_only=True):
    """A decision against a command. ``detail`` says in a sentence why, the other fields hold the numbers behind it,
    amounts in minor units. The sentence is made when the command is decided on, and stored: a replay repeats it.
    """

    detail: str = ""

    def __post_init__(self) -> None:
        if not self.detail:
            structs.force_setattr(self, "detail", self._sentence())

    def members(self) -> dict[str, Any]:
        """Return the numbers, by name, in the order of the fields and without what is UNSET."""
        members = super().members()
        del members["detail"]
        return members

    def short_of_room(self) -> UUID | None:
        """Return the account that lacked room, if open holds reserve some of its room."""
        return None

    def _sentence(self) -> str:
        raise NotImplementedError


AccountId = Annotated[UUID, Meta(description="The account that the rule was about.")]
Amount = Annotated[int, Meta(description="What was to be moved.")]
Held = Annotated[int, Meta(description="What open holds reserve.")]
Excess = Annotated[int, Meta(description="How much of the amount is too much.")]


class KeyFenced(Rejection, frozen=True):
    """The key was made unusable by ``earlier_request`` before it was used. Never stored: the key is taken."""

    idempotency_key: str
    earlier_request: EarlierRequest

    def _sentence(self) -> str:
        return (
            "This request was not carried out: its idempotency key was fenced at"
            f" {_text(self.earlier_request.decided_at)}. Nothing was or will be applied under it."
        )


class IdempotencyKeyReused(Rejection, frozen=True):
    """The key stands for another request, ``earlier_request``. Never stored: the key is taken."""

    idempotency_key: str
    earlier_request: EarlierRequest

    def _sentence(self) -> str:
        earlier = self.earlier_request
        told = f"{earlier.code}). Nothing was or will be applied under this key"
        if earlier.outcome == "applied":
            told = f"{earlier.made()}). That one HAS been applied and stands; read it before you send anything anew"
        return (
            "This request was not carried out: its idempotency key stands for another request,"
            f" {earlier.operation}, {earlier.outcome} at {_text(earlier.decided_at)} ({told}."
        )


class ClockBehind(Rejection, frozen=True):
    """The ledger's last change lies ahead of the clock, too far to place another one after it. Never stored: it passes
    when the clock has been put right, or has caught up.
    """

    last_change: Annotated[datetime, Meta(description="When the ledger last changed.")]
    clock: Annotated[datetime, Meta(description="The database's clock.")]
    ahead_seconds: Annotated[float, Meta(description="How far the ledger's last change lies ahead of the clock.")]

    @classmethod
    def of(cls, *, last_change: datetime, clock: datetime) -> Self:
        """Return the rejection with the difference of both times."""
        return cls(last_change, clock, (last_change - clock).total_seconds())

    def _sentence(self) -> str:
        return (
            f"The last change of the ledger lies {self.ahead_seconds} seconds ahead of the database's clock; nothing"
            " was applied."
        )


class SameAccount(Rejection, frozen=True):
    """A transfer needs two accounts."""

    account_id: AccountId

    def _sentence(self) -> str:
        return "The debit account and the credit account are the same."


class AccountNotFound(Rejection, frozen=True):
    """The ledger has no such account."""

    account_id: AccountId

    def _sentence(self) -> str:
        return f"This ledger has no account {self.account_id}."


class AccountClosed(Rejection, frozen=True):
    """A closed account never moves or changes again."""

    account_id: AccountId

    def _sentence(self) -> str:
        return f"Account {self.account_id} is closed."


class AccountFrozen(Rejection, frozen=True):
    """A frozen account takes neither debits nor credits."""

    account_id: AccountId

    def _sentence(self) -> str:
        return f"Account {self.account_id} is frozen."


class CurrencyMismatch(Rejection, frozen=True):
    """The account holds another currency than the transfer names, which may be one that no account holds."""

    account_id: AccountId
    account_currency: str
    currency: Annotated[str, Meta(description="What was asked for.")]

    def _sentence(self) -> str:
        return f"Account {self.account_id} holds {self.account_currency}, the transfer is in {self.currency}."


class TimeOutOfRange(Rejection, frozen=True):
    """The time in ``field`` lies outside of what this installation allows, or before what it refers to."""

    field: Annotated[str, Meta(description="Where the time stands.")]
    value: datetime
    earliest: datetime
    latest: datetime

    def _sentence(self) -> str:
        return f"{self.field} must lie between {_text(self.earliest)} and {_text(self.latest)}."


class PeriodClosed(Rejection, frozen=True, kw_only=True):
    """The value date lies in a period that is closed, and late entries are rejected."""

    effective_at: Annotated[datetime, Meta(description="The value date that was asked for.")]
    closed_until: Annotated[datetime, Meta(description="The first value date that is open.")]

    def _sentence(self) -> str:
        return f"Value dates before {_text(self.closed_until)} are closed, and {_text(self.effective_at)} is one."


class ReasonMissing(Rejection, frozen=True, kw_only=True):
    """A closed period is opened again by whoever says why."""

    closed_until: Annotated[datetime, Meta(description="Up to where the ledger is closed now.")]

    def _sentence(self) -> str:
        return f"The ledger is closed until {_text(self.closed_until)}: say in `reason` why that is opened again."


class BalanceOverflow(Rejection, frozen=True):
    """The counter of ``side`` would pass the largest 64-bit integer."""

    account_id: AccountId
    side: Annotated[str, Meta(description="Whose counter is full: debit or credit.")]
    posted: Annotated[int, Meta(description="The counter, without holds.")]
    held: Held
    amount: Amount

    def short_of_room(self) -> UUID | None:
        """Return the account, if holds fill its counter."""
        return self.account_id if self.held else None

    def _sentence(self) -> str:
        return f"The {self.side}s of account {self.account_id} would exceed the largest number it can hold."


class InsufficientFunds(Rejection, frozen=True):
    """The available balance less ``amount`` would lie below the minimum."""

    account_id: AccountId
    balance: int
    held: Held
    available_balance: int
    minimum_balance: int
    amount: Amount
    shortfall: Annotated[int, Meta(description="How much is missing.")]

    @classmethod
    def of(cls, account_id: UUID, *, balance: int, available_balance: int, minimum_balance: int, amount: int) -> Self:
        """Return the rejection with what follows from these numbers."""
        held, shortfall = balance - available_balance, minimum_balance - (available_balance - amount)
        return cls(account_id, balance, held, available_balance, minimum_balance, amount, shortfall)

    def short_of_room(self) -> UUID | None:
        """Return the account, if holds reserve some of its balance."""
        return self.account_id if self.held else None

    def _sentence(self) -> str:
        available, minimum = self.available_balance, self.minimum_balance
        return f"Account {self.account_id} has {available} available and a minimum of {minimum}."


class BalanceLimitExceeded(Rejection, frozen=True, kw_only=True):
    """The balance plus ``amount`` would lie above the maximum; or bounds are asked for that cross (there is a
    ``minimum_balance`` then, and nothing of the balance).
    """

    account_id: AccountId
    balance: int | UnsetType = UNSET
    minimum_balance: Annotated[int | UnsetType, Meta(description="Where it lies above the maximum.")] = UNSET
    maximum_balance: int
    amount: Amount | UnsetType = UNSET
    excess: Excess | UnsetType = UNSET

    @classmethod
    def of(cls, account_id: UUID, *, balance: int, maximum_balance: int, amount: int) -> Self:
        """Return the rejection with what follows from these numbers."""
        excess = balance + amount - maximum_balance
        return cls(
            account_id=account_id, balance=balance, maximum_balance=maximum_balance, amount=amount, excess=excess
        )

    def _sentence(self) -> str:
        if self.minimum_balance is not UNSET:
            return f"A minimum of {self.minimum_balance} lies above a maximum of {self.maximum_balance}."
        return f"Account {self.account_id} has a balance of {self.balance} and a maximum of {self.maximum_balance}."


class HoldNotFound(Rejection, frozen=True):
    """The ledger has no such hold."""

    hold_id: UUID

    def _sentence(self) -> str:
        return f"This ledger has no hold {self.hold_id}."


class HoldExpired(Rejection, frozen=True):
    """The hold's time is over, whether or not what it reserved has been freed yet."""

    hold_id: UUID
    expires_at: datetime

    def _sentence(self) -> str:
        return f"Hold {self.hold_id} expired at {_text(self.expires_at)}."


class HoldNotOpen(Rejection, frozen=True):
    """The hold has met its end before: captured or voided."""

    hold_id: UUID
    hold_status: str
    captured_amount: int

    def _sentence(self) -> str:
        return f"Hold {self.hold_id} is {self.hold_status}."


class CaptureExceedsHold(Rejection, frozen=True):
    """More was to be captured than the hold still reserves."""

    hold_id: UUID
    hold_amount: int
    captured_amount: int
    amount: Amount
    excess: Excess

    @classmethod
    def of(cls, hold_id: UUID, *, hold_amount: int, captured_amount: int, amount: int) -> Self:
        """Return the rejection with what follows from these numbers."""
        return cls(hold_id, hold_amount, captured_amount, amount, captured_amount + amount - hold_amount)

    def _sentence(self) -> str:
        return f"Hold {self.hold_id} still reserves {self.hold_amount - self.captured_amount}."


class TransferNotFound(Rejection, frozen=True):
    """The ledger has no such transfer."""

    transfer_id: UUID

    def _sentence(self) -> str:
        return f"This ledger has no transfer {self.transfer_id}."


class ReversalNotReversible(Rejection, frozen=True):
    """A reversal is final; money goes out again by a new transfer."""

    transfer_id: UUID
    reverses_id: UUID

    def _sentence(self) -> str:
        return f"Transfer {self.transfer_id} is itself a reversal; post a new transfer instead."


class AlreadyReversed(Rejection, frozen=True):
    """All of the transfer has been moved back before."""

    transfer_id: UUID
    reversed_amount: int

    def _sentence(self) -> str:
        return f"All of transfer {self.transfer_id} has been reversed."


class ReversalExceedsTransfer(Rejection, frozen=True):
    """More was to be moved back than is left of the transfer."""

    transfer_id: UUID
    transfer_amount: int
    reversed_amount: int
    amount: Amount
    excess: Excess

    @classmethod
    def of(cls, transfer_id: UUID, *, transfer_amount: int, reversed_amount: int, amount: int) -> Self:
        """Return the rejection with what follows from these numbers."""
        return cls(transfer_id, transfer_amount, reversed_amount, amount, reversed_amount + amount - transfer_amount)

    def _sentence(self) -> str:
        return f"Of transfer {self.transfer_id}, {self.transfer_amount - self.reversed_amount} can still be reversed."


class CurrencyUnknown(Rejection, frozen=True):
    """ISO 4217 has no such currency, or gives it no minor unit."""

    currency: Annotated[str, Meta(description="What was asked for.")]

    def _sentence(self) -> str:
        return f"{self.currency} is not a currency of ISO 4217 with a minor unit."


class DebitNotAllowed(Rejection, frozen=True):
    """The token is limited to debiting other accounts. Never stored: another token of the client may, or later."""

    account_id: AccountId

    def _sentence(self) -> str:
        return f"This token may not debit account {self.account_id}."


class AccountNotEmpty(Rejection, frozen=True):
    """Only an account without balance and holds can be closed."""

    account_id: AccountId
    balance: int
    debits_held: int
    credits_held: int

    def short_of_room(self) -> UUID | None:
        """Return the account, if holds keep it from being empty."""
        return self.account_id if self.debits_held or self.credits_held else None

    def _sentence(self) -> str:
        return f"Account {self.account_id} cannot be closed while it has a balance or holds."


class VersionMismatch(Rejection, frozen=True):
    """The caller wants to change a state of the account that is no longer its state."""

    account_id: AccountId

    def _sentence(self) -> str:
        return f"Account {self.account_id} is no longer in the state that If-Match names; read it again."


class ReferenceTaken(Rejection, frozen=True):
    """Another account of the ledger has this ``reference``, or another ledger this ``name``."""

    reference: str | UnsetType = UNSET
    name: str | UnsetType = UNSET

    def _sentence(self) -> str:
        if self.name is not UNSET:
            return f"Another ledger is named {self.name!r}."
        return f"Another account of this ledger has the reference {self.reference!r}."


class BatchRejected(Rejection, frozen=True):
    """Applied together or not at all: the command under ``refused_idempotency_key`` was rejected."""

    refused_idempotency_key: Annotated[str, Meta(description="The item that was refused.")]
    refused_code: Annotated[str, Meta(description="Why that item was refused.")]

    def _sentence(self) -> str:
        return "Nothing of this batch was applied, because one of its transfers was refused."


class InternalError(Rejection, frozen=True):
    """The database refused what the rules had allowed: a fault of ours. Nothing is applied, nothing is stored."""

    def _sentence(self) -> str:
        return "The service failed on this request; nothing was applied."


REJECTIONS: tuple[type[Rejection], ...] = tuple(Rejection.__subclasses__())
"""Every type of rejection."""


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
