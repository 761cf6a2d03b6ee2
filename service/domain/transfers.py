"""Transfers."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from service.domain.accounts import AccountDetails


class Transfer(Struct, frozen=True, kw_only=True, gc=False):
    """An immutable fact: money that moved. Amounts and balances are in minor units of ``currency``.

    The versions are the accounts' own after this transfer, the balances the posted balances after it, each on its
    account's normal side. ``hold_id`` is the hold that it captured, ``reverses_id`` the transfer that it reversed.
    ``requested_effective_at`` is the value date that was asked for, where it lay in a closed period.
    Its author is the client, under the key and in the request that are named.
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
    client_id: str
    idempotency_key: str
    request_id: str | None = None
    requested_effective_at: datetime | None = None


class TransferWithAccounts(Struct, frozen=True, kw_only=True):
    """A transfer with both of its accounts as they are now."""

    transfer: Transfer
    debit_account: AccountDetails
    credit_account: AccountDetails
