"""The head of a ledger: its one row that every writer locks first, so that what is written has one order."""

import logging
import secrets
from datetime import datetime
from uuid import UUID

from service.domain.identifiers import ENTROPY_BITS, identifier
from service.domain.order import Moment
from service.domain.policy import Policy
from service.domain.rejections import ClockBehind
from service.storage.database import Session
from service.storage.repositories import Repositories

logger = logging.getLogger(__name__)


async def lock_head(session: Session, ledger_id: int, policy: Policy) -> Moment:
    """Lock the head of the ledger until the transaction ends, and return the moment of what is written there next.

    It comes before every other statement of the transaction. Its place is taken once it is written to the head
    (``HeadRepository.advance``).
    """
    head = await Repositories(session).heads.lock(ledger_id)
    return Moment.after(head.last_at, head.clock, policy, head.period)


def new_identifier(place: datetime) -> UUID:
    """Return the identifier of what alone is written at ``place``."""
    return identifier(place, 0, secrets.randbits(ENTROPY_BITS))


def tell_clock_behind(ledger_id: int, rejection: ClockBehind) -> None:
    """Log that nothing can be written to the ledger before the clock is put right, or has caught up."""
    logger.error(
        "the last change of a ledger lies ahead of the database's clock: what writes to the ledger is rejected",
        extra={
            "reason": f"ledger {ledger_id}",  # one line a minute for each
            "ledger_id": ledger_id,
            "last_change": rejection.last_change.isoformat(),
            "ahead_seconds": rejection.ahead_seconds,
        },
    )
