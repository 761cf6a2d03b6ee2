"""Balances at a time."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from .accounts import NormalSide
from .times import Time, WrittenTime

ACCOUNTS_MAX = 1_000

AS_OF = (
    "Count what is dated up to this time, inclusive, by value date (`effective_at`); now if it is left out. It may lie"
    " ahead."
)
KNOWN_AT = (
    "Count what was recorded up to this time, inclusive (`created_at`); all that is recorded if it is left out. It must"
    " not lie ahead."
)


class BalanceView(Struct, kw_only=True, frozen=True, gc=False):
    """An account's balances at a time, in minor units of its currency."""

    account_id: UUID
    ledger: str
    currency: str
    normal_side: NormalSide
    as_of: Annotated[Time, Meta(description="The last value date that counts.")]
    known_at: Annotated[
        Time,
        Meta(
            description="Up to when everything recorded counts: the time asked for, or the ledger's last change before"
            " it. Asked for again with this time and `as_of`, the answer is the same for ever."
        ),
    ]
    balance: Annotated[int, Meta(description="Posted, on the account's normal side.")]
    debits_held: Annotated[int, Meta(description="Reserved by holds that were open at `known_at`.")]
    credits_held: Annotated[int, Meta(description="Reserved by holds that were open at `known_at`.")]
    available_balance: Annotated[int, Meta(description="The balance less what those holds reserved against it.")]
    version: Annotated[
        int,
        Meta(description="The account's version at `known_at`; 0 before its first change and before it was opened."),
    ]


class BalancesRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which balances, at which time."""

    account_ids: Annotated[list[UUID], Meta(min_length=1, max_length=ACCOUNTS_MAX)]
    as_of: Annotated[WrittenTime, Meta(description=AS_OF)] | None = None
    known_at: Annotated[WrittenTime, Meta(description=KNOWN_AT)] | None = None


class BalancesView(Struct, kw_only=True, frozen=True):
    """Balances of several accounts, all at the same times, in the order of the request."""

    items: list[BalanceView]
