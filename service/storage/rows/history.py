"""The entries of histories that have no other row."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, Integer, PrimaryKeyConstraint, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column

from service.storage import constraints
from service.storage.rows.base import Base


class HistoryRow(Base):
    """An entry of a ledger's history that has no other row which never changes: revisions, the ends of holds,
    rejections, fences, the opening of accounts; under id 0, which belongs to no ledger, ledgers and tokens. Transfers
    and holds, as they were opened, are entries too: ``repositories.history`` merges the three by ``id``.

    ``data`` is canonical JSON, ``client_id`` is null where the service itself acted.
    """

    __tablename__ = "history"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "id", name=constraints.PK_HISTORY),
        Index("ix_history_subject", "ledger_id", "subject_id", "id", postgresql_where=text("subject_id IS NOT NULL")),
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    id: Mapped[UUID]
    type: Mapped[str]
    subject_id: Mapped[UUID | None]
    client_id: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    request_id: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime]
