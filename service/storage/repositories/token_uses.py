"""How often tokens were used, a row for each token and day."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Date, DateTime, Interval, cast, func, literal, select
from sqlalchemy.dialects.postgresql import UUID as PGUUID
from sqlalchemy.dialects.postgresql import insert

from service.storage.database import Session
from service.storage.rows import TokenUseRow

_USES = TokenUseRow.__table__.c


class Uses(NamedTuple):
    """New requests of a token, and how long ago the last one of them came."""

    token_id: UUID
    requests: int
    ago: timedelta


class DayOfUse(NamedTuple):
    """The requests of a token on one day in UTC, and when the last one of them came."""

    day: date
    requests: int
    last_used_at: datetime


class TokenUseRepository:
    """Reads and adds uses of tokens on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, uses: Sequence[Uses]) -> None:
        """Add to what is counted already, whoever counted it. All of a token's ``uses`` count for the day of its last
        one, on the database's clock.
        """
        ids, requests, agos = ([one[n] for one in sorted(uses)] for n in range(3))  # one order: nobody waits crosswise
        new = (
            func.unnest(
                literal(ids, ARRAY(PGUUID(as_uuid=True))),
                literal(requests, ARRAY(BigInteger)),
                literal(agos, ARRAY(Interval)),
            )
            .table_valued("token_id", "requests", "ago", name="new")
            .render_derived()
        )
        used_at = func.clock_timestamp() - new.c.ago
        day = cast(func.timezone("UTC", used_at), Date)
        added = insert(TokenUseRow).from_select(
            ["token_id", "day", "requests", "last_used_at"],
            select(new.c.token_id, day, new.c.requests, cast(used_at, DateTime(timezone=True))),
        )
        await self._session.execute(
            added.on_conflict_do_update(
                index_elements=[_USES.token_id, _USES.day],
                set_={
                    "requests": _USES.requests + added.excluded.requests,
                    "last_used_at": func.greatest(_USES.last_used_at, added.excluded.last_used_at),
                },
            )
        )

    async def last(self) -> dict[UUID, datetime]:
        """Return when each token was last used, of those that ever were."""
        query = select(_USES.token_id, func.max(_USES.last_used_at)).group_by(_USES.token_id)
        return {token_id: last_used_at for token_id, last_used_at in await self._session.execute(query)}  # noqa: C416

    async def of(self, token_id: UUID) -> Sequence[DayOfUse]:
        """Return the days on which the token was used, oldest first."""
        query = select(_USES.day, _USES.requests, _USES.last_used_at).where(_USES.token_id == token_id)
        return [DayOfUse(*row) for row in await self._session.execute(query.order_by(_USES.day))]
