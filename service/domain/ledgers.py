"""Ledgers."""

from datetime import datetime

from msgspec import Struct

NO_LEDGER = 0
"""What belongs to the installation and to no ledger stands under this id: ledgers and tokens themselves."""


class Ledger(Struct, frozen=True, kw_only=True):
    """A closed book, as callers know it: by its name, which never changes."""

    name: str
    description: str | None
    created_at: datetime


class StoredLedger(Ledger, frozen=True, kw_only=True):
    """A ledger with the small id that its rows have. Decisions remember a ledger without it."""

    id: int
