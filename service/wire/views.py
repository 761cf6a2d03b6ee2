"""Accounts, transfers and holds as answers show them.

They stand together, because an account can show its transfers and holds, and a transfer its accounts.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from .accounts import AccountStatus, NormalSide
from .holds import HoldStatus
from .times import Time


class AccountView(Struct, kw_only=True, frozen=True, gc=False):
    """An account with its counters and balances, in minor units of its currency."""

    id: UUID
    ledger: str
    reference: str | None
    code: Annotated[str | None, Meta(description="Its place in the chart of accounts.")]
    name: str | None
    currency: str
    normal_side: NormalSide
    minimum_balance: int | None
    maximum_balance: int | None
    status: AccountStatus
    debits_posted: int
    credits_posted: int
    debits_held: int
    credits_held: int
    balance: int
    available_balance: Annotated[
        int,
        Meta(
            description="The balance less what open holds reserve. One past its time counts until it is freed: within a"
            " second, or at once by whatever needs the room."
        ),
    ]
    version: Annotated[int, Meta(description="Counts every change of the counters.")]
    metadata: dict[str, str]
    client: Annotated[str | None, Meta(description="Who opened it.")]
    created_at: Time
    updated_at: Time
    transfers: Annotated[
        "list[TransferView] | UnsetType",
        Meta(description="With `expand=transfers`: the most recent transfers, newest first."),
    ] = UNSET
    holds: Annotated[
        "list[HoldView] | UnsetType",
        Meta(description="With `expand=holds`: the open holds, newest first, 100 at most; the list of holds has more."),
    ] = UNSET


class TransferView(Struct, kw_only=True, frozen=True, gc=False):
    """A transfer: a fact that never changes. The balances after it are on each account's normal side."""

    id: UUID
    ledger: str
    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    currency: str
    debit_account_version: int
    credit_account_version: int
    debit_balance_after: int
    credit_balance_after: int
    hold_id: UUID | None
    reverses_id: UUID | None
    group_id: UUID | None
    reference: str | None
    description: str | None
    metadata: dict[str, str]
    client: Annotated[str, Meta(description="Who posted it.")]
    effective_at: Annotated[Time, Meta(description="The value date.")]
    requested_effective_at: Annotated[
        Time | UnsetType,
        Meta(
            description="The value date that was asked for, where its period was closed and late entries are dated"
            " forward. Absent from other transfers."
        ),
    ] = UNSET
    created_at: Annotated[
        Time,
        Meta(
            description="Where it stands in the order, which rises along the whole ledger: the time of posting, or just"
            " after the ledger's last change where that lies (some seconds at most) ahead of the clock."
        ),
    ]
    debit_account: Annotated[
        "AccountView | UnsetType", Meta(description="With `expand=accounts`: the account as it is now.")
    ] = UNSET
    credit_account: Annotated[
        "AccountView | UnsetType", Meta(description="With `expand=accounts`: the account as it is now.")
    ] = UNSET


class HoldView(Struct, kw_only=True, frozen=True, gc=False):
    """A hold and what became of it. The versions are the accounts' own when it was opened and when it met its end."""

    id: UUID
    ledger: str
    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    captured_amount: int
    currency: str
    status: HoldStatus
    expires_at: datetime
    debit_account_version: int
    credit_account_version: int
    closed_debit_account_version: int | None
    closed_credit_account_version: int | None
    group_id: UUID | None
    reference: str | None
    description: str | None
    metadata: dict[str, str]
    client: Annotated[str, Meta(description="Who opened it.")]
    created_at: datetime
    closed_at: datetime | None
