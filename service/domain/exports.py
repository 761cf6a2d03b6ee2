"""What of a ledger goes out to those who recompute it: accounts, their balances around a period, and transfers."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from service.domain.transfers import Transfer


class Period(Struct, frozen=True):
    """The times from ``start`` on, before ``end``: value dates, or times of recording."""

    start: datetime
    end: datetime


class ExportedAccount(Struct, frozen=True):
    """An account as an export lists it, with its balances around a period in minor units of ``currency``, debits less
    credits whatever its normal side is.

    ``opening`` is the balance before the period; ``debits`` and ``credits`` are what was posted in it.
    """

    id: UUID
    reference: str | None
    name: str | None
    currency: str
    normal_side: str
    code: str | None
    created_at: datetime
    opening: int
    debits: int
    credits: int

    @property
    def closing(self) -> int:
        """The balance at the end of the period, debits less credits."""
        return self.opening + self.debits - self.credits


class ExportedTransfer(Struct, frozen=True):
    """A transfer with the references of its accounts and their normal sides."""

    transfer: Transfer
    debit_reference: str | None
    debit_normal_side: str
    credit_reference: str | None
    credit_normal_side: str
