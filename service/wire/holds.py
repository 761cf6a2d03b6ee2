"""Holds: the requests that open and capture one. ``views`` has how one is shown."""

from typing import Literal
from uuid import UUID

from msgspec import Struct

from .scalars import Amount, Currency, Description, ExpirySeconds, Metadata, Reference
from .times import ValueDate, WrittenTime

HoldStatus = Literal["open", "captured", "voided", "expired"]


class HoldRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A hold to open. It expires at `expires_at`, or `expires_in_seconds` after it is opened; without either, after
    the time that the installation sets (7 days by default). An installation bounds it, too (31 days by default).
    """

    debit_account_id: UUID
    credit_account_id: UUID
    amount: Amount
    currency: Currency
    expires_at: WrittenTime | None = None
    expires_in_seconds: ExpirySeconds | None = None
    reference: Reference | None = None
    description: Description | None = None
    metadata: Metadata = {}


class CaptureRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """How much of a hold to capture: without `amount`, all that is left. A `final` capture frees the rest."""

    amount: Amount | None = None
    final: bool = True
    reference: Reference | None = None
    description: Description | None = None
    effective_at: ValueDate | None = None
    metadata: Metadata = {}
