"""Decisions: what the service answered to a request, remembered for ever under its idempotency key."""

from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar
from uuid import UUID

from msgspec import Struct

from service.domain.accounts import AccountDetails
from service.domain.holds import Hold
from service.domain.ledgers import Ledger
from service.domain.operations import Operation
from service.domain.periods import Closing
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer


class Fenced(Struct, frozen=True):
    """The result of a key that was made unusable before it was used."""


FENCED = Fenced()

CommandResult = Transfer | Hold | Rejection | Fenced
"""What deciding a command of a batch gave."""

Result = CommandResult | AccountDetails | Ledger | Closing
"""What deciding a request gave: what it made or changed, as it was then, or why it did not."""

Outcome = Literal["applied", "rejected", "fenced"]

R_co = TypeVar("R_co", bound=Result, covariant=True)


class Key(Struct, frozen=True, kw_only=True):
    """Under which key a decision stands, and what tells the request that it answers from others: its operation and its
    fingerprint. ``request_id`` is what the request is called.
    """

    ledger_id: int
    client_id: str
    idempotency_key: str
    fingerprint: bytes
    operation: Operation
    request_id: str | None = None


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """What the service answered to a request, for ever.

    A rejected command keeps its terms and its accounts, as far as they are known: an operator will ask.
    """

    ledger_id: int
    client_id: str
    idempotency_key: str
    fingerprint: bytes
    operation: Operation
    result: Result
    terms: dict[str, Any] | None = None
    debit_account_id: UUID | None = None
    credit_account_id: UUID | None = None
    created_at: datetime

    @classmethod
    def on(cls, key: Key, result: Result, created_at: datetime) -> Self:
        """Return the decision on the request of ``key``."""
        return cls(
            ledger_id=key.ledger_id,
            client_id=key.client_id,
            idempotency_key=key.idempotency_key,
            fingerprint=key.fingerprint,
            operation=key.operation,
            result=result,
            created_at=created_at,
        )

    @property
    def outcome(self) -> Outcome:
        """Whether the request was applied."""
        if isinstance(self.result, Rejection):
            return "rejected"
        return "fenced" if isinstance(self.result, Fenced) else "applied"


class Answer(Struct, Generic[R_co], frozen=True, gc=False):
    """A result on its way to the caller; ``replayed`` when it had been decided before."""

    result: R_co
    replayed: bool = False


CommandAnswer = Answer[CommandResult]
