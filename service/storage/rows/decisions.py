"""What was decided under every idempotency key."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Integer, PrimaryKeyConstraint, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column

from service.storage import constraints
from service.storage.rows.base import Base


class DecisionRow(Base):
    """The registry of every request with a key, for ever: what was answered under (ledger, client, idempotency key).

    An applied decision names its resource; one that made or revised an account or a ledger keeps the answer given
    (``resource``), since those change later. A rejected one keeps the rejection (``problem``), what was asked for
    (``terms``) and of which accounts. A fenced decision makes its key unusable.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "client_id", "idempotency_key", name=constraints.PK_DECISIONS),
        CheckConstraint("outcome IN ('applied', 'rejected', 'fenced')", name=constraints.CK_DECISIONS_OUTCOME),
        CheckConstraint("(outcome = 'rejected') = (problem IS NOT NULL)", name=constraints.CK_DECISIONS_ANSWER),
        # Rejections are looked up by time and by account; decisions that were applied are not in these indexes. The
        # first one is closed to queries for an account's, which do not say that a client has a name (0038).
        Index(
            "ix_decisions_not_applied",
            "ledger_id",
            "outcome",
            "created_at",
            "client_id",
            "idempotency_key",
            postgresql_where=text("outcome <> 'applied' AND client_id <> ''"),
        ),
        # And so is this one, to all but a client's.
        Index(
            "ix_decisions_not_applied_of_client",
            "ledger_id",
            "client_id",
            "outcome",
            "created_at",
            "idempotency_key",
            postgresql_where=text("outcome <> 'applied' AND operation <> ''"),
        ),
        *(
            Index(
                f"ix_decisions_refused_{side}",
                "ledger_id",
                f"{side}_account_id",
                "outcome",
                "created_at",
                "client_id",
                "idempotency_key",
                postgresql_where=text(f"outcome <> 'applied' AND {side}_account_id IS NOT NULL"),
            )
            for side in ("debit", "credit")
        ),
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    client_id: Mapped[str]
    idempotency_key: Mapped[str]
    fingerprint: Mapped[bytes]
    operation: Mapped[str]
    outcome: Mapped[str]
    resource_id: Mapped[UUID | None]
    resource: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    terms: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    debit_account_id: Mapped[UUID | None]
    credit_account_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
