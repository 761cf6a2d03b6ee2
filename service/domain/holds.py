"""Holds: reservations that are later captured, voided, or expire."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct, structs


class HoldStatus(StrEnum):
    """Only an open hold reserves anything; the others are final."""

    OPEN = "open"
    CAPTURED = "captured"
    VOIDED = "voided"
    EXPIRED = "expired"


class Hold(Struct, frozen=True, kw_only=True, gc=False):
    """A reservation of ``amount`` minor units of ``currency``, of which ``captured_amount`` was posted.

    ``debit_account_version`` and ``credit_account_version`` are the accounts' own when it was opened. The versions
    at its end are those after the last capture, the void or the expiry. Its
    author, who opened it, is the client, under the key and in the request that are named.
    """

    ledger_id: int
    id: UUID
    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    captured_amount: int = 0
    currency: str
    status: str = HoldStatus.OPEN.value
    expires_at: datetime
    debit_account_version: int
    credit_account_version: int
    closed_debit_account_version: int | None = None
    closed_credit_account_version: int | None = None
    group_id: UUID | None = None
    reference: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    created_at: datetime
    closed_at: datetime | None = None
    client_id: str
    idempotency_key: str
    request_id: str | None = None

    @property
    def reserved(self) -> int:
        """What it reserves now, in minor units."""
        return self.amount - self.captured_amount if self.status == HoldStatus.OPEN else 0

    def as_opened(self) -> "Hold":
        """Return the hold as it was when it was opened."""
        return structs.replace(
            self,
            captured_amount=0,
            status=HoldStatus.OPEN.value,
            closed_debit_account_version=None,
            closed_credit_account_version=None,
            closed_at=None,
        )
