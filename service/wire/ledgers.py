"""Ledgers: the request that creates one, and how one is shown."""

from msgspec import Struct

from .scalars import Description, LedgerName
from .times import Time


class LedgerRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A ledger to create."""

    name: LedgerName
    description: Description | None = None


class LedgerView(Struct, kw_only=True, frozen=True):
    """A ledger: a closed book."""

    name: str
    description: str | None
    created_at: Time
