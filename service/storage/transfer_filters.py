"""What a list of transfers is filtered by, and what follows from that: which index it walks, what it sifts, and where
the next page begins.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from service.domain.limits import INT64_MAX
from service.domain.transfers import Transfer

Walk = Literal["all", "dated", "account", "debit", "credit", "hold", "reversed", "reference", "prefix"]
"""Which transfers are read, each from one index in its order, or from a few of them merged: all by identifier; those
that may have a value date; an account's by its version, of both sides or one; captures of a hold, reversals of a
transfer and those with a reference by identifier; those whose reference begins so, by reference and identifier.
"""

_RECORDED = frozenset({"created_from", "created_to"})
_SERVED: dict[Walk, frozenset[str]] = {
    "all": _RECORDED,
    "dated": _RECORDED,
    "account": _RECORDED | {"account_id"},
    "debit": _RECORDED | {"debit_account_reference"},
    "credit": _RECORDED | {"credit_account_reference"},
    "hold": _RECORDED | {"hold_id"},
    "reversed": _RECORDED | {"reverses_id"},
    "reference": _RECORDED | {"reference"},
    "prefix": frozenset({"reference_prefix"}),
}
"""The filters that a walk's index keeps to."""


class ReferencePlace(Struct, frozen=True, array_like=True):
    """Where a transfer stands in a list by reference. Cursors carry it."""

    reference: Annotated[str, Meta(pattern=r"^[^\x00]*$")]
    id: UUID


AccountVersion = Annotated[int, Meta(ge=0, le=INT64_MAX)]
Position = UUID | AccountVersion | ReferencePlace
"""Where a page ends, and the next one begins behind it."""


class TransferFilters(Struct, frozen=True, kw_only=True):
    """What each transfer of a list has in common with the others; None is no filter.

    Times are half-open windows, amounts lie between both bounds. ``counterparty_id`` is the account on the other side
    of the one that another filter names. Each of ``description_words`` is a word of the description, as
    ``texts.words_of`` returns them; each of ``metadata`` is a member, its name and its value with a colon between them.
    """

    account_id: UUID | None = None
    debit_account_reference: str | None = None
    credit_account_reference: str | None = None
    counterparty_id: UUID | None = None
    hold_id: UUID | None = None
    reverses_id: UUID | None = None
    reference: str | None = None
    reference_prefix: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    effective_from: datetime | None = None
    effective_to: datetime | None = None
    amount_min: int | None = None
    amount_max: int | None = None
    currency: str | None = None
    client_id: str | None = None
    description_words: list[str] | None = None
    metadata: list[str] | None = None

    @property
    def walk(self) -> Walk:
        """Which transfers are read. Of an account and a reference, either may turn out to be the shorter way."""
        ways: dict[str, Walk] = {
            "hold_id": "hold",
            "reverses_id": "reversed",
            "account_id": "account",
            "debit_account_reference": "debit",
            "credit_account_reference": "credit",
            "reference": "reference",
            "reference_prefix": "prefix",
            "effective_from": "dated",
            "effective_to": "dated",
        }
        return next((walk for name, walk in ways.items() if getattr(self, name) is not None), "all")

    @property
    def sifted(self) -> list[str]:
        """The names of the filters that are asked of each transfer that is read."""
        served = _SERVED[self.walk]
        return [name for name in self.__struct_fields__ if name not in served and getattr(self, name) is not None]

    def has_window(self, longest: timedelta) -> bool:
        """Whether both ends of a window of times are given that is not longer than ``longest``."""
        windows = ((self.created_from, self.created_to), (self.effective_from, self.effective_to))
        return any(first is not None and end is not None and end - first <= longest for first, end in windows)

    @property
    def position_type(self) -> type[UUID] | type[ReferencePlace] | type[AccountVersion]:
        """What a position in the list is."""
        if self.walk == "prefix":
            return ReferencePlace
        return AccountVersion if self.walk in {"account", "debit", "credit"} and not self.sifted else UUID

    def position(self, transfer: Transfer) -> Position:
        """Return where ``transfer`` stands in the list."""
        if self.position_type is UUID:
            return transfer.id
        if self.walk == "prefix":
            assert transfer.reference is not None, "the walk goes along references"
            return ReferencePlace(transfer.reference, transfer.id)
        is_debit = self.walk == "debit" or transfer.debit_account_id == self.account_id
        return transfer.debit_account_version if is_debit else transfer.credit_account_version
