"""The tables of schema ``funds``, as SQLAlchemy maps them.

Every key begins with ``ledger_id``: it keeps tenants apart and makes a ledger the unit of distribution.
Relationships load only when a query says so (``lazy="raise"``).
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    and_,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB
from sqlalchemy.dialects.postgresql import UUID as PGUUID
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship, remote

from service.storage import constraints

SCHEMA = "funds"
UUIDS = ARRAY(PGUUID(as_uuid=True))
RECENT_CHANGES = 20
"""How many of an account's latest versions ``Account.recent_transfers`` looks back over."""


class Base(DeclarativeBase):
    """Base of all mapped tables: one schema, explicit types."""

    metadata = MetaData(schema=SCHEMA)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        int: BigInteger,
        str: Text,
        datetime: DateTime(timezone=True),
        UUID: PGUUID(as_uuid=True),
        dict[str, str]: JSONB,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        bytes: LargeBinary,
    }


class Ledger(Base):
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


class Account(Base):
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

    # Bounded by the account's own version instead of LIMIT, and a relation for each side: so the statement's indexes
    # serve both, however long the history is. In no order, for another index could offer it.
    recent_debits: Mapped[list["Transfer"]] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(
            Account.ledger_id == foreign(Transfer.ledger_id),
            Account.id == foreign(Transfer.debit_account_id),
            foreign(Transfer.debit_account_version) > Account.version - RECENT_CHANGES,
        ),
    )
    recent_credits: Mapped[list["Transfer"]] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(
            Account.ledger_id == foreign(Transfer.ledger_id),
            Account.id == foreign(Transfer.credit_account_id),
            foreign(Transfer.credit_account_version) > Account.version - RECENT_CHANGES,
        ),
    )

    @property
    def recent_transfers(self) -> list["Transfer"]:
        """The transfers among the latest RECENT_CHANGES versions, newest first, if both relations were loaded."""
        return sorted((*self.recent_debits, *self.recent_credits), key=lambda one: one.id, reverse=True)


class Transfer(Base):
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
    reference: Mapped[str | None]
    description: Mapped[str | None]
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata")
    effective_at: Mapped[datetime]
    created_at: Mapped[datetime]

    debit_account: Mapped[Account] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(
            foreign(Transfer.ledger_id) == remote(Account.ledger_id),
            foreign(Transfer.debit_account_id) == remote(Account.id),
        ),
    )
    credit_account: Mapped[Account] = relationship(
        lazy="raise",
        viewonly=True,
        primaryjoin=lambda: and_(
            foreign(Transfer.ledger_id) == remote(Account.ledger_id),
            foreign(Transfer.credit_account_id) == remote(Account.id),
        ),
    )


def _account_of(side: str, name: str) -> ForeignKeyConstraint:
    """Return the foreign key to the account on ``side``, which proves that it holds the row's currency."""
    return ForeignKeyConstraint(
        ["ledger_id", f"{side}_account_id", "currency"],
        [f"{SCHEMA}.accounts.ledger_id", f"{SCHEMA}.accounts.id", f"{SCHEMA}.accounts.currency"],
        name=name,
    )


class Hold(Base):
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


class ReversedTransfer(Base):
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


class Decision(Base):
    """The registry of every request with a key, for ever: what was answered under (ledger, client, idempotency key).

    An applied decision names its resource; one that made or revised an account or a ledger keeps the answer given
    (``resource``), since those change later. A rejected one keeps the rejection (``problem``), what was asked for
    (``terms``) and of which accounts. A fenced one stands for a key that was made unusable.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "client_id", "idempotency_key", name=constraints.PK_DECISIONS),
        CheckConstraint("outcome IN ('applied', 'rejected', 'fenced')", name=constraints.CK_DECISIONS_OUTCOME),
        CheckConstraint("(outcome = 'rejected') = (problem IS NOT NULL)", name=constraints.CK_DECISIONS_ANSWER),
        # What was refused is looked up by time and by account; what was applied costs these indexes nothing.
        Index(
            "ix_decisions_refused",
            "ledger_id",
            "outcome",
            "created_at",
            "client_id",
            "idempotency_key",
            postgresql_where=text("outcome <> 'applied'"),
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


class Token(Base):
    """A caller's bearer token, known only by its SHA-256. ``ledgers`` lists ledger names; None means every ledger.

    Tokens stand above the ledgers, so their key is their own.
    """

    __tablename__ = "tokens"
    __table_args__ = (
        PrimaryKeyConstraint("id", name=constraints.PK_TOKENS),
        UniqueConstraint("token_hash", name=constraints.UQ_TOKENS_HASH),
    )

    id: Mapped[UUID]
    client: Mapped[str]
    token_hash: Mapped[bytes]
    scopes: Mapped[list[str]]
    ledgers: Mapped[list[str] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
