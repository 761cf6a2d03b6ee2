"""Transfers."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class Transfer(Struct, frozen=True, kw_only=True, gc=False):
    """An immutable fact: money that moved. Amounts and balances are in minor units of ``currency``.

    The versions are the accounts' own after this transfer, the balances the posted balances after it, each on its
    account's normal side. ``hold_id`` is the hold that it captured, ``reverses_id`` the transfer that it reversed.
    """

    ledger_id: int
    id: UUID
    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    currency: str
    debit_account_version: int
    credit_account_version: int
    debit_balance_after: int
    credit_balance_after: int
    hold_id: UUID | None = None
    reverses_id: UUID | None = None
    group_id: UUID | None = None
    reference: str | None = None
    description: str | None = None
    metadata: dict[str, str] = {}
    effective_at: datetime
    created_at: datetime
