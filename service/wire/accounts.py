"""Accounts: the requests that open and revise one. ``views`` has how one is shown."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from .scalars import AccountCode, Balance, Currency, Metadata, Name, Reference

NormalSide = Literal["credit", "debit"]
AccountStatus = Literal["open", "frozen", "closed"]


class AccountRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An account to open. A bound that is null or absent is no bound; a minimum of 0 forbids overdraft."""

    currency: Currency
    reference: Reference | None = None
    name: Name | None = None
    normal_side: NormalSide = "credit"
    minimum_balance: Balance | None = None
    maximum_balance: Balance | None = None
    metadata: Metadata = {}
    code: AccountCode | None = None


class AccountPatch(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change of an account: an absent member stays as it is, null removes a value."""

    name: Name | None | UnsetType = UNSET
    minimum_balance: Balance | None | UnsetType = UNSET
    maximum_balance: Balance | None | UnsetType = UNSET
    status: AccountStatus | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    code: AccountCode | None | UnsetType = UNSET
