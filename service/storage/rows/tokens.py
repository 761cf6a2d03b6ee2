"""The tokens of callers, and how they are used."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    UniqueConstraint,
    false,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.storage import constraints
from service.storage.rows.base import UUIDS, Base
from service.storage.schema import SCHEMA


class TokenRow(Base):
    """A caller's bearer token, known only by its SHA-256. ``ledgers`` lists ledger names; None means every ledger.
    ``debit_accounts`` and ``debit_codes`` limit what it may debit; None of both means any account. A limited one cannot
    have scopes by which it would change accounts, and with their codes its limit. Of one that ``is_certificate``, the
    hash is of a certificate that a proxy passes on.

    Tokens stand above the ledgers, so their key is their own.
    """

    __tablename__ = "tokens"
    __table_args__ = (
        PrimaryKeyConstraint("id", name=constraints.PK_TOKENS),
        UniqueConstraint("token_hash", name=constraints.UQ_TOKENS_HASH),
        CheckConstraint(
            "debit_accounts IS NULL AND debit_codes IS NULL OR NOT scopes && ARRAY['admin', 'accounts:write']",
            name=constraints.CK_TOKENS_DEBIT_LIMIT,
        ),
    )

    id: Mapped[UUID]
    client: Mapped[str]
    token_hash: Mapped[bytes]
    token_digest: Mapped[bytes] = mapped_column(Computed("sha256(token_hash)", persisted=True))
    scopes: Mapped[list[str]]
    ledgers: Mapped[list[str] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    debit_accounts: Mapped[list[UUID] | None] = mapped_column(UUIDS)
    debit_codes: Mapped[list[str] | None]
    is_certificate: Mapped[bool] = mapped_column(server_default=false())


class TokenUseRow(Base):
    """How many requests a token had on one day in UTC, and when the last one of them came."""

    __tablename__ = "token_uses"
    __table_args__ = (
        PrimaryKeyConstraint("token_id", "day", name=constraints.PK_TOKEN_USES),
        ForeignKeyConstraint(["token_id"], [f"{SCHEMA}.tokens.id"], name=constraints.FK_TOKEN_USES_TOKEN),
        CheckConstraint("requests > 0", name=constraints.CK_TOKEN_USES_REQUESTS),
    )

    token_id: Mapped[UUID]
    day: Mapped[date]
    requests: Mapped[int]
    last_used_at: Mapped[datetime]
