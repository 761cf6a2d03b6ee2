"""What verification knows of each ledger."""

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, PrimaryKeyConstraint
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column

from service.storage import constraints
from service.storage.rows.base import Base


class VerificationRow(Base):
    """What verification knows of a ledger: the last pass that ended and the one that is under way (``domain.integrity``
    has both as structs), and of them whether anything was found, and when the former ended.
    """

    __tablename__ = "verifications"
    __table_args__ = (PrimaryKeyConstraint("ledger_id", name=constraints.PK_VERIFICATIONS),)

    ledger_id: Mapped[int] = mapped_column(Integer, autoincrement=False)
    damaged: Mapped[bool]
    completed_at: Mapped[datetime | None]
    complete: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    running: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
