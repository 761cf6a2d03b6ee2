"""Ledgers, and where the order of each ends."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Identity, Integer, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.storage import constraints
from service.storage.rows.base import Base


class LedgerRow(Base):
    """A closed book. ``id`` is small and internal; callers know ledgers by ``name``. Id 0 belongs to no ledger:
    decisions about ledgers themselves stand under it.
    """

    __tablename__ = "ledgers"
    __table_args__ = (
        PrimaryKeyConstraint("id", name=constraints.PK_LEDGERS),
        UniqueConstraint("name", name=constraints.UQ_LEDGERS_NAME),
        CheckConstraint("id > 0", name=constraints.CK_LEDGERS_ID_POSITIVE),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(always=False))
    name: Mapped[str]
    description: Mapped[str | None]
    created_at: Mapped[datetime]


class LedgerHeadRow(Base):
    """Where the order of a ledger ends: whoever writes to the ledger locks this row first and moves it on. Id 0 is the
    installation's own. It also says which value dates are closed, so that whoever writes reads them with its lock.
    Nothing points at it, and its pages leave room, because every batch changes it in place (HOT).
    """

    __tablename__ = "ledger_heads"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", name=constraints.PK_LEDGER_HEADS),
        CheckConstraint("ledger_id >= 0", name=constraints.CK_LEDGER_HEADS_LEDGER),
        CheckConstraint(
            "(closed_until IS NULL) = (late_entries IS NULL) AND late_entries IN ('reject', 'forward')",
            name=constraints.CK_LEDGER_HEADS_PERIOD,
        ),
        {"postgresql_with": {"fillfactor": 50}},
    )

    ledger_id: Mapped[int] = mapped_column(Integer, autoincrement=False)
    last_at: Mapped[datetime]
    closed_until: Mapped[datetime | None]
    late_entries: Mapped[str | None]
