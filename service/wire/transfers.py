"""Transfers: the requests that post and reverse one. ``views`` has how one is shown."""

from uuid import UUID

from msgspec import Struct

from .scalars import Amount, Currency, Description, Metadata, Reference
from .times import ValueDate


class AtMost(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A balancing amount: what is available, up to `at_most` and at least 1."""

    at_most: Amount


class TransferRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A transfer to post: `amount` debits one account and credits the other."""

    debit_account_id: UUID
    credit_account_id: UUID
    amount: Amount | AtMost
    currency: Currency
    reference: Reference | None = None
    description: Description | None = None
    effective_at: ValueDate | None = None
    metadata: Metadata = {}


class ReversalRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """How much of a transfer to move back: without `amount`, all that has not been moved back yet."""

    amount: Amount | None = None
    reference: Reference | None = None
    description: Description | None = None
    effective_at: ValueDate | None = None
    metadata: Metadata = {}
