"""Closing the period of a ledger: up to a value date nothing is dated into it any more.

A closing moves on; moved back, it opens a period again, and then somebody has to say why. Each is an entry of the
ledger's history.
"""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from service.domain import rejections
from service.domain.order import ClosedPeriod, Moment
from service.domain.rejections import Rejection

LateEntries = Literal["reject", "forward"]
"""What becomes of a transfer that is dated into the closed period: it is rejected (``period_closed``), or dated forward
to the end of the period, the first moment that is open.
"""

LEDGER_ITSELF = UUID(int=0)
"""The subject of entries about a ledger as a whole, which has no identifier."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class ClosingTerms(Struct, frozen=True, kw_only=True):
    """What a caller asks for: value dates before ``closed_until`` are closed, None for none."""

    closed_until: datetime | None
    late_entries: LateEntries
    reason: str | None


class Closing(ClosingTerms, frozen=True, kw_only=True):
    """A closing as it was made, by ``client_id``: it has the identifier of its entry in the history."""

    id: UUID
    client_id: str
    created_at: datetime

    @property
    def period(self) -> ClosedPeriod | None:
        """The period that is closed from then on."""
        return None if self.closed_until is None else ClosedPeriod(self.closed_until, self.late_entries)


def decide_closing(asked: ClosingTerms, moment: Moment, *, new_id: UUID, client_id: str) -> Closing | Rejection:
    """Decide on closing the ledger up to a value date, in the order of ``rules.CLOSING_RULES``.

    What is to come is not closed: a transfer without a value date of its own always has one that is open.
    """
    until = asked.closed_until
    if until is not None and until > moment.clock:
        return rejections.TimeOutOfRange("closed_until", until, earliest=_EARLIEST, latest=moment.clock)
    if _opens_again(asked, moment) and not (asked.reason and asked.reason.strip()):
        assert moment.period is not None
        return rejections.ReasonMissing(closed_until=moment.period.until)
    return Closing(
        id=new_id,
        closed_until=None if until is None else until.astimezone(UTC),
        late_entries=asked.late_entries,
        reason=asked.reason,
        client_id=client_id,
        created_at=moment.place,
    )


def _opens_again(asked: ClosingTerms, moment: Moment) -> bool:
    """Whether value dates that are closed would be open."""
    return moment.period is not None and (asked.closed_until is None or asked.closed_until < moment.period.until)
