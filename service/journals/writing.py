"""What all formats of exports have in common."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec
from msgspec import Struct

from service.domain.exports import ExportedAccount, ExportedTransfer, Period
from service.domain.transfers import Transfer

Accounts = Callable[[], AsyncIterator[ExportedAccount]]
"""Reads all accounts anew each time it is called."""


class Export(Struct, frozen=True):
    """What is exported: the transfers of ``ledger`` in ``period``, as recorded up to ``as_of``."""

    ledger: str
    period: Period
    as_of: datetime
    currencies: list[str]
    accounts: Accounts
    transfers: Callable[[], AsyncIterator[ExportedTransfer]]


class Written(Protocol):
    """Takes the text of one file, piece by piece."""

    def __call__(self, text: str, /) -> object:
        """Write ``text``."""


def instant(time: datetime) -> str:
    """Return ``time`` in UTC to the microsecond, RFC 3339."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def day(time: datetime) -> str:
    """Return the day of ``time`` in UTC, YYYY-MM-DD."""
    return time.astimezone(UTC).date().isoformat()


def last_day(period: Period) -> str:
    """Return the last day of which ``period`` has a moment."""
    return day(period.end - timedelta(microseconds=1))


def facts(transfer: Transfer) -> dict[str, str]:
    """Return what is told of ``transfer`` beside its date, its description and its postings, by name."""
    said = {
        "recorded": instant(transfer.created_at),
        "effective": instant(transfer.effective_at),
        "client": transfer.client_id,
        "key": transfer.idempotency_key,
        "reference": transfer.reference,
        "group": transfer.group_id,
        "hold": transfer.hold_id,
        "reverses": transfer.reverses_id,
        "metadata": msgspec.json.encode(transfer.metadata).decode() if transfer.metadata else None,
    }
    return {name: str(value) for name, value in said.items() if value is not None}
