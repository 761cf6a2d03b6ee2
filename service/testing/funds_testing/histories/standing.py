"""What stands in the end: accounts, facts and decisions of the ledgers of a history, as the database has them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """``bounds_were_constant``: nobody has revised its minimum or maximum."""

    id: str
    ledger: str
    currency: str
    normal_side: str
    minimum_balance: int | None
    maximum_balance: int | None
    debits_posted: int
    credits_posted: int
    debits_held: int
    credits_held: int
    version: int
    bounds_were_constant: bool = True


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer, and the key under which it was asked for."""

    id: str
    ledger: str
    key: str
    debit_account_id: str
    credit_account_id: str
    amount: int
    currency: str
    debit_account_version: int
    credit_account_version: int
    debit_balance_after: int
    credit_balance_after: int
    hold_id: str | None = None
    reverses_id: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold, the key under which it was asked for, and what became of it."""

    id: str
    ledger: str
    key: str
    debit_account_id: str
    credit_account_id: str
    amount: int
    currency: str
    debit_account_version: int
    credit_account_version: int
    captured_amount: int = 0
    status: str = "open"
    closed_debit_account_version: int | None = None
    closed_credit_account_version: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is remembered under a key; ``resource_id`` is the transfer or hold that was made or changed."""

    ledger: str
    key: str
    operation: str
    outcome: str
    resource_id: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that stands in the ledgers of a history; accounts without a change of their own may be left out."""

    accounts: Sequence[Account] = ()
    transfers: Sequence[Transfer] = ()
    holds: Sequence[Hold] = ()
    decisions: Sequence[Decision] = ()
