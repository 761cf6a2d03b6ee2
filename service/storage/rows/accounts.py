"""Accounts and transfers, in one module because each is related to the other."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    and_,
    text,
)
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship, remote

from service.storage import constraints
from service.storage.rows.base import Base
from service.storage.schema import SCHEMA

RECENT_CHANGES = 20
"""How many of an account's latest versions ``AccountRow.recent_transfers`` looks back over."""


class AccountRow(Base):
    """An account and its counters. The table leaves room in its pages so that counter updates stay in place (HOT):
    no index covers a counter.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "id", name=constraints.PK_ACCOUNTS),
        UniqueConstraint("ledger_id", "reference", name=constraints.UQ_ACCOUNTS_REFERENCE),
        # What a hold's foreign keys point at: they prove that both accounts hold the hold's currency.
        UniqueConstraint("ledger_id", "id", "currency", name=constraints.UQ_ACCOUNTS_CURRENCY),
        ForeignKeyConstraint(["ledger_id"], [f"{SCHEMA}.ledgers.id"], name=constraints.FK_ACCOUNTS_LEDGER),
        CheckConstraint("normal_side IN ('credit', 'debit')", name=constraints.CK_ACCOUNTS_NORMAL_SIDE),
        CheckConstraint("status IN ('open', 'frozen', 'closed')", name=constraints.CK_ACCOUNTS_STATUS),
        CheckConstraint(
            "debits_posted >= 0 AND credits_posted >= 0 AND debits_held >= 0 AND credits_held >= 0 AND version >= 0"
            " AND debits_held <= 9223372036854775807 - debits_posted"
            " AND credits_held <= 9223372036854775807 - credits_posted",
            name=constraints.CK_ACCOUNTS_COUNTERS,
        ),
        CheckConstraint(
            "CASE normal_side WHEN 'credit' THEN credits_posted - debits_posted - debits_held"
            " ELSE debits_posted - credits_posted - credits_held END >= minimum_balance",
            name=constraints.CK_ACCOUNTS_MINIMUM_BALANCE,
        ),
        CheckConstraint(
            "CASE normal_side WHEN 'credit' THEN credits_posted - debits_posted"
            " ELSE debits_posted - credits_posted END <= maximum_balance",
            name=constraints.CK_ACCOUNTS_MAXIMUM_BALANCE,
        ),
        CheckConstraint(
            "status <> 'closed' OR (credits_posted = debits_posted AND debits_held = 0 AND credits_held = 0)",
            name=constraints.CK_ACCOUNTS_CLOSED_EMPTY,
        ),
        Index("ix_accounts_status", "ledger_id", "status", "id"),
        Index("ix_accounts_currency", "ledger_id", "currency", "status", "id"),
        Index("ix_accounts_code", "ledger_id", "code", "id", postgresql_where=text("code IS NOT NULL")),
        {"postgresql_with": {"fillfactor": 50}},
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    id: Mapped[UUID]
    reference: Mapped[str | None]
    name: Mapped[str | None]
    currency: Mapped[str]
    normal_side: Mapped[str]
    minimum_balance: Mapped[int | None]
    maximum_balance: Mapped[int | None]
    status: Mapped[str] = mapped_column(server_default="open")
    debits_posted: Mapped[int] = mapped_column(server_default=text("0"))
    credits_posted: Mapped[int] = mapped_column(server_default=text("0"))
    debits_held: Mapped[int] = mapped_column(server_default=text("0"))
    credits_held: Mapped[int] = mapped_column(server_default=text("0"))
    version: Mapped[int] = mapped_column(server_default=text("0"))
    # ``metadata`` is SQLAlchemy's own name on a mapped class.
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata", server_default=text("'{}'"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    client_id: Mapped[str | None]
    # In the order of bytes, in which what goes on behind a code is one range.
    code: Mapped[str | None] = mapped_column(Text(collation="C"))

    # Bounded by the account's own version instead of LIMIT, and a relation for each side: so the statement's indexes
    # serve both, however long the history is. In no order, for another index could offer it.
    recent_debits: Mapped[list["TransferRow"]] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(
            AccountRow.ledger_id == foreign(TransferRow.ledger_id),
            AccountRow.id == foreign(TransferRow.debit_account_id),
            foreign(TransferRow.debit_account_version) > AccountRow.version - RECENT_CHANGES,
        ),
    )
    recent_credits: Mapped[list["TransferRow"]] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(
            AccountRow.ledger_id == foreign(TransferRow.ledger_id),
            AccountRow.id == foreign(TransferRow.credit_account_id),
            foreign(TransferRow.credit_account_version) > AccountRow.version - RECENT_CHANGES,
        ),
    )

    @property
    def recent_transfers(self) -> list["TransferRow"]:
        """The transfers among the latest RECENT_CHANGES versions, newest first, if both relations were loaded."""
        return sorted((*self.recent_debits, *self.recent_credits), key=lambda one: one.id, reverse=True)


class TransferRow(Base):
    """One row a transfer, never updated and never deleted: both sides and both balances after it.

    That its accounts exist and hold its currency is proved by the statement that moves their counters in the same
    transaction (``statements.UPDATE_ACCOUNTS``): foreign keys would look both of them up again for every row.
    """

    __tablename__ = "transfers"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "id", name=constraints.PK_TRANSFERS),
        # The statement's indexes: an account's history in the order of its own versions, without a gap.
        UniqueConstraint(
            "ledger_id", "debit_account_id", "debit_account_version", name=constraints.UQ_TRANSFERS_DEBIT_VERSION
        ),
        UniqueConstraint(
            "ledger_id", "credit_account_id", "credit_account_version", name=constraints.UQ_TRANSFERS_CREDIT_VERSION
        ),
        ForeignKeyConstraint(
            ["ledger_id", "hold_id"],
            [f"{SCHEMA}.holds.ledger_id", f"{SCHEMA}.holds.id"],
            name=constraints.FK_TRANSFERS_HOLD,
        ),
        CheckConstraint("amount > 0", name=constraints.CK_TRANSFERS_AMOUNT),
        CheckConstraint("debit_account_id <> credit_account_id", name=constraints.CK_TRANSFERS_ACCOUNTS),
        CheckConstraint(
            "debit_account_version > 0 AND credit_account_version > 0", name=constraints.CK_TRANSFERS_VERSIONS
        ),
        # Partial, so that a transfer without a reference pays nothing for it.
        Index("ix_transfers_reference", "ledger_id", "reference", "id", postgresql_where=text("reference IS NOT NULL")),
        Index("ix_transfers_hold", "ledger_id", "hold_id", "id", postgresql_where=text("hold_id IS NOT NULL")),
        Index(
            "ix_transfers_reverses", "ledger_id", "reverses_id", "id", postgresql_where=text("reverses_id IS NOT NULL")
        ),
        # What was dated apart from its recording, by value date and by when it was recorded. A transfer without a value
        # date of its own has that of its place, and pays nothing for these.
        *(
            Index(
                f"ix_transfers_{side}_value_date",
                "ledger_id",
                f"{side}_account_id",
                "effective_at",
                "id",
                postgresql_include=["amount"],
                postgresql_where=text("effective_at <> created_at"),
            )
            for side in ("debit", "credit")
        ),
        *(
            Index(
                f"ix_transfers_{side}_apart",
                "ledger_id",
                f"{side}_account_id",
                "id",
                postgresql_include=["effective_at", "amount"],
                postgresql_where=text("effective_at <> created_at"),
            )
            for side in ("debit", "credit")
        ),
        Index(
            "ix_transfers_apart",
            "ledger_id",
            "id",
            postgresql_include=["effective_at"],
            postgresql_where=text("effective_at <> created_at"),
        ),
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    id: Mapped[UUID]
    debit_account_id: Mapped[UUID]
    credit_account_id: Mapped[UUID]
    amount: Mapped[int]
    currency: Mapped[str]
    debit_account_version: Mapped[int]
    credit_account_version: Mapped[int]
    debit_balance_after: Mapped[int]
    credit_balance_after: Mapped[int]
    hold_id: Mapped[UUID | None]
    reverses_id: Mapped[UUID | None]
    group_id: Mapped[UUID | None]
    # Compared by code points, so that references that begin alike stand together in the index, whatever the database's
    # collation is.
    reference: Mapped[str | None] = mapped_column(Text(collation="C"))
    description: Mapped[str | None]
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata")
    effective_at: Mapped[datetime]
    created_at: Mapped[datetime]
    client_id: Mapped[str]
    idempotency_key: Mapped[str]
    request_id: Mapped[str | None]
    requested_effective_at: Mapped[datetime | None]

    debit_account: Mapped[AccountRow] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(
            foreign(TransferRow.ledger_id) == remote(AccountRow.ledger_id),
            foreign(TransferRow.debit_account_id) == remote(AccountRow.id),
        ),
    )
    credit_account: Mapped[AccountRow] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(
            foreign(TransferRow.ledger_id) == remote(AccountRow.ledger_id),
            foreign(TransferRow.credit_account_id) == remote(AccountRow.id),
        ),
    )


class ReversedTransferRow(Base):
    """How much of a transfer has been moved back: transfers never change, and a constraint needs both numbers."""

    __tablename__ = "reversed_transfers"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "transfer_id", name=constraints.PK_REVERSED_TRANSFERS),
        ForeignKeyConstraint(
            ["ledger_id", "transfer_id"],
            [f"{SCHEMA}.transfers.ledger_id", f"{SCHEMA}.transfers.id"],
            name=constraints.FK_REVERSED_TRANSFERS_TRANSFER,
        ),
        CheckConstraint("reversed_amount BETWEEN 1 AND amount", name=constraints.CK_REVERSED_TRANSFERS_AMOUNT),
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    transfer_id: Mapped[UUID]
    amount: Mapped[int]
    reversed_amount: Mapped[int]
