"""Holds."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Integer, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.storage import constraints
from service.storage.rows.base import Base
from service.storage.schema import SCHEMA

OPEN_MILLISECONDS_DIGITS = "length((EXTRACT(epoch FROM closed_at - created_at) * 1000::numeric)::bigint::text)"
"""How many digits the milliseconds have that a hold was open: with n digits, it was open for less than 10^n of them."""


def _account_of(side: str, name: str) -> ForeignKeyConstraint:
    """Return the foreign key to the account on ``side``, which proves that it holds the row's currency."""
    return ForeignKeyConstraint(
        ["ledger_id", f"{side}_account_id", "currency"],
        [f"{SCHEMA}.accounts.ledger_id", f"{SCHEMA}.accounts.id", f"{SCHEMA}.accounts.currency"],
        name=name,
    )


class HoldRow(Base):
    """A reservation and what became of it."""

    __tablename__ = "holds"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "id", name=constraints.PK_HOLDS),
        _account_of("debit", constraints.FK_HOLDS_DEBIT_ACCOUNT),
        _account_of("credit", constraints.FK_HOLDS_CREDIT_ACCOUNT),
        CheckConstraint("amount > 0", name=constraints.CK_HOLDS_AMOUNT),
        CheckConstraint("debit_account_id <> credit_account_id", name=constraints.CK_HOLDS_ACCOUNTS),
        CheckConstraint("status IN ('open', 'captured', 'voided', 'expired')", name=constraints.CK_HOLDS_STATUS),
        CheckConstraint(
            "(status = 'open') = (closed_at IS NULL) AND (status = 'open') = (closed_debit_account_version IS NULL)"
            " AND (status = 'open') = (closed_credit_account_version IS NULL)",
            name=constraints.CK_HOLDS_CLOSED,
        ),
        CheckConstraint(
            "captured_amount BETWEEN 0 AND amount AND (captured_amount > 0 OR status <> 'captured')"
            " AND (captured_amount < amount OR status = 'captured')",
            name=constraints.CK_HOLDS_CAPTURED,
        ),
        CheckConstraint(
            "expires_at > created_at AND (status <> 'captured' OR closed_at < expires_at)",
            name=constraints.CK_HOLDS_EXPIRY,
        ),
        # An account's holds are looked up by status, for each of the four if none is asked for.
        Index("ix_holds_status", "ledger_id", "status", "id"),
        Index("ix_holds_debit_account", "ledger_id", "debit_account_id", "status", "id"),
        Index("ix_holds_credit_account", "ledger_id", "credit_account_id", "status", "id"),
        # The sweeper's: it looks across ledgers, off the hot path.
        Index("ix_holds_open_expiry", "expires_at", postgresql_where=text("status = 'open'")),
        # Those that were open at a time past: of each order of magnitude of how long they were, by when they ended.
        *(
            Index(
                f"ix_holds_closed_{side}",
                "ledger_id",
                f"{side}_account_id",
                text(OPEN_MILLISECONDS_DIGITS),
                "closed_at",
                f"closed_{side}_account_version",
                postgresql_where=text("closed_at IS NOT NULL"),
            )
            for side in ("debit", "credit")
        ),
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    id: Mapped[UUID]
    debit_account_id: Mapped[UUID]
    credit_account_id: Mapped[UUID]
    amount: Mapped[int]
    captured_amount: Mapped[int] = mapped_column(server_default=text("0"))
    currency: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="open")
    expires_at: Mapped[datetime]
    debit_account_version: Mapped[int]
    credit_account_version: Mapped[int]
    closed_debit_account_version: Mapped[int | None]
    closed_credit_account_version: Mapped[int | None]
    group_id: Mapped[UUID | None]
    reference: Mapped[str | None]
    description: Mapped[str | None]
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata")
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    client_id: Mapped[str]
    idempotency_key: Mapped[str]
    request_id: Mapped[str | None]
