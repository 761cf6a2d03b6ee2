"""The logs of ledgers: their tiles, their checkpoints and who cosigned them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Integer, PrimaryKeyConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.storage import constraints
from service.storage.rows.base import UUIDS, Base
from service.storage.schema import SCHEMA


class LogTileRow(Base):
    """A full tile of a ledger's log: 256 leaves (level 0, with the entries they stand for), or 256 tiles of the level
    below. ``root`` is the root of all leaves under it.
    """

    __tablename__ = "log_tiles"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "level", "index", name=constraints.PK_LOG_TILES),
        CheckConstraint("octet_length(root) = 32", name=constraints.CK_LOG_TILES_ROOT),
        CheckConstraint(
            "CASE WHEN level = 0 THEN coalesce(octet_length(hashes) = 8192 AND cardinality(entry_ids) = 256"
            " AND first_entry_id = entry_ids[1], false)"
            " ELSE hashes IS NULL AND entry_ids IS NULL AND first_entry_id IS NULL END",
            name=constraints.CK_LOG_TILES_LEAVES,
        ),
        Index("ix_log_tiles_first_entry", "ledger_id", "first_entry_id", postgresql_where=text("level = 0")),
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    level: Mapped[int] = mapped_column(Integer)
    index: Mapped[int]
    root: Mapped[bytes]
    first_entry_id: Mapped[UUID | None]
    entry_ids: Mapped[list[UUID] | None] = mapped_column(UUIDS)
    hashes: Mapped[bytes | None]


class LogCheckpointRow(Base):
    """The log of a ledger at some moment, and the signed note that says so."""

    __tablename__ = "log_checkpoints"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "size", name=constraints.PK_LOG_CHECKPOINTS),
        CheckConstraint("size > 0", name=constraints.CK_LOG_CHECKPOINTS_SIZE),
        CheckConstraint("octet_length(root) = 32", name=constraints.CK_LOG_CHECKPOINTS_ROOT),
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    size: Mapped[int]
    root: Mapped[bytes]
    last_entry_id: Mapped[UUID]
    note: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class LogCosignatureRow(Base):
    """The line by which a witness cosigned a checkpoint."""

    __tablename__ = "log_cosignatures"
    __table_args__ = (
        PrimaryKeyConstraint("ledger_id", "size", "witness", name=constraints.PK_LOG_COSIGNATURES),
        ForeignKeyConstraint(
            ["ledger_id", "size"],
            [f"{SCHEMA}.log_checkpoints.ledger_id", f"{SCHEMA}.log_checkpoints.size"],
            name=constraints.FK_LOG_COSIGNATURES_CHECKPOINT,
        ),
    )

    ledger_id: Mapped[int] = mapped_column(Integer)
    size: Mapped[int]
    witness: Mapped[str]
    signature: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
