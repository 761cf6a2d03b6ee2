"""Statements of accounts: every transfer of a period, in the order of one of two axes, between two balances."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from service.domain.accounts import AccountDetails
from service.domain.balances import EVER, Viewpoint
from service.domain.exports import Period
from service.domain.identifiers import first_identifier
from service.domain.transfers import Transfer

Axis = Literal["recorded", "value"]
"""By what the lines of a statement fall into its period, and are ordered: when they were recorded, or value dates."""

_FIRST = UUID(int=0)


class Position(Struct, frozen=True, array_like=True):
    """A place in the order of an axis: that of a transfer, by when it counts there and its identifier."""

    at: datetime
    id: UUID


class Line(Struct, frozen=True, kw_only=True):
    """A transfer as a statement of one of its accounts shows it. ``amount`` and ``balance``, the balance after it in
    the order of the statement, are on the account's normal side, in minor units; ``version`` is the account's.
    ``log_index`` is the transfer's place in the ledger's log, None where it is not sealed.
    """

    transfer: Transfer
    version: int
    amount: int
    balance: int
    counterparty_id: UUID
    counterparty_reference: str | None
    counterparty_name: str | None
    log_index: int | None


class Statement(Struct, frozen=True, kw_only=True):
    """A statement without its lines. What counts was recorded by ``known_at``; its balances are in minor units, on the
    account's normal side, before the period and at its end.
    """

    account: AccountDetails
    axis: Axis
    period: Period
    known_at: datetime
    opening: int
    closing: int


class Order(Struct, frozen=True):
    """The order of the lines of statements on ``axis``, of what was recorded before the identifier ``end``."""

    axis: Axis
    end: UUID

    def before(self, time: datetime) -> Position:
        """Return the position behind all that lies before ``time``."""
        return Position(time, _FIRST if self.axis == "value" else UUID(int=first_identifier(time).int - 1))

    def of(self, transfer: Transfer) -> Position:
        """Return the position of ``transfer``."""
        return Position(transfer.effective_at if self.axis == "value" else transfer.created_at, transfer.id)

    def within(self, position: Position, period: Period) -> Position:
        """Return ``position``, or the nearest one in ``period``."""
        return max(self.before(period.start), min(position, self.before(period.end), key=self._key), key=self._key)

    def viewpoint(self, position: Position) -> Viewpoint:
        """Return from where the balance at ``position`` is seen."""
        if self.axis == "value":
            return Viewpoint(position.at, self.end, position.id)
        return Viewpoint(EVER, min(self.end, UUID(int=position.id.int + 1)))

    def _key(self, position: Position) -> tuple[datetime, UUID] | tuple[UUID]:
        return (position.at, position.id) if self.axis == "value" else (position.id,)


def signed(transfer: Transfer, account: AccountDetails) -> int:
    """Return the amount of ``transfer`` on the normal side of ``account``, which is one of its two."""
    debited = transfer.debit_account_id == account.id
    return transfer.amount if debited == (account.normal_side == "debit") else -transfer.amount
