"""Trial balances, and balances rolled up along the chart of accounts."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from .accounts import NormalSide
from .times import Time


class TrialBalanceItem(Struct, kw_only=True, frozen=True, gc=False):
    """An account's balance in minor units: on the debit side or on the credit side, zero on the other."""

    account_id: UUID
    reference: str | None
    code: str | None
    name: str | None
    currency: str
    normal_side: NormalSide
    debit_balance: int
    credit_balance: int


class TrialBalanceTotals(Struct, kw_only=True, frozen=True):
    """What all accounts in one currency come to, in minor units. Of a whole ledger, debits and credits are equal.

    The sums are arbitrarily large, so they travel as decimal strings.
    """

    currency: str
    account_count: int
    debit_balances: str
    credit_balances: str


class TrialBalanceView(Struct, kw_only=True, frozen=True):
    """A page of a trial balance: by currency, and in each by account. The last page of a currency has its totals, over
    all pages; it may have no items.
    """

    ledger: str
    as_of: Annotated[Time, Meta(description="The last value date that counts.")]
    known_at: Annotated[
        Time,
        Meta(
            description="Up to when everything recorded counts: the time asked for, or the ledger's last change before"
            " it."
        ),
    ]
    items: list[TrialBalanceItem]
    totals: list[TrialBalanceTotals]
    next_cursor: Annotated[str | None, Meta(description="Where the next page begins; null on the last one.")]


class CodeBalance(Struct, kw_only=True, frozen=True):
    """What the accounts come to in one currency that a code stands for, in minor units: debit balances less credit
    balances, on the side where they are more. The sums are arbitrarily large, so they travel as decimal strings.
    """

    code: str
    currency: str
    account_count: int
    debit_balance: str
    credit_balance: str


class CodeBalancesView(Struct, kw_only=True, frozen=True):
    """Balances rolled up: of the code that was asked for as a whole, and of each code one segment behind it."""

    ledger: str
    as_of: Annotated[Time, Meta(description="The last value date that counts.")]
    known_at: Annotated[Time, Meta(description="Up to when everything recorded counts.")]
    items: list[CodeBalance]
