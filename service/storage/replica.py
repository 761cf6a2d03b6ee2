"""The replica: whether reads may use it now, and what they see there at least."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from service.errors import SchemaBehindError
from service.storage.database import Database
from service.storage.errors import reason
from service.storage.migrations import verify_revision

logger = logging.getLogger(__name__)

READ_SECONDS_MAX = 1.5
"""How long a read may take on the replica before it goes to the primary instead."""
LOOK_INTERVAL_SECONDS = 1.0
_LOOK_SECONDS_MAX = 1.0
_LEFT_ALONE_SECONDS = 5.0
_MOMENTS_MAX = 600
_BEHIND = timedelta(seconds=10)

# The position of the flushed log, because a commit is visible to others only after its record is flushed: a read at
# this moment sees only what lies before that position.
_WRITTEN = text("SELECT clock_timestamp(), (pg_current_wal_flush_lsn() - '0/0')::bigint")
_REPLAYED = text("""
    SELECT pg_last_xact_replay_timestamp(),
           (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END
            - '0/0')::bigint
""")


class Replica:
    """Knows whether reads may use the replica, and how old its rows are at most. A PeriodicWorker calls ``look`` every
    LOOK_INTERVAL_SECONDS, so that no read has to find out by waiting.

    A replica that failed a read is not used for _LEFT_ALONE_SECONDS. Then ``look`` checks it again, and not the reads
    of callers, until it answers and has the schema that the service needs. ``look`` also notes how far the primary has
    written: once the replica has replayed as much, its rows are as of that moment or later (``as_of``).
    """

    def __init__(self, database: Database, primary: Database) -> None:
        self._database = database
        self._primary = primary
        self._moments: deque[tuple[int, datetime]] = deque(maxlen=_MOMENTS_MAX)
        self._left_alone_until = 0.0
        self.usable = False
        self.as_of: datetime | None = None
        self.trouble: str | None = "not looked at yet"

    def fail(self, error: BaseException) -> None:
        """Stop using the replica for a while, because a read failed there with ``error``."""
        self._left_alone_until = asyncio.get_running_loop().time() + _LEFT_ALONE_SECONDS
        self._give_up("failed a read", error)

    @property
    def lag_seconds(self) -> float | None:
        """How old its rows are at most; None where that is not known."""
        return None if self.as_of is None else max(0.0, (datetime.now(UTC) - self.as_of).total_seconds())

    @property
    def behind(self) -> bool:
        """Whether the rows of the replica are much older than now."""
        return self.as_of is not None and datetime.now(UTC) - self.as_of > _BEHIND

    async def look(self) -> None:
        """Check whether the replica answers, whether it has the schema that the service needs, and how far it is.

        A failure of the replica is noted and logged, and not raised.
        """
        if asyncio.get_running_loop().time() < self._left_alone_until:
            return
        await self._note_moment()
        try:
            async with asyncio.timeout(_LOOK_SECONDS_MAX):
                async with self._database.engine.connect() as connection:
                    replayed_at, position = (await connection.execute(_REPLAYED)).one()
                await verify_revision(self._database.engine)
        except SchemaBehindError as error:
            self._give_up("its schema is behind", error)
        except Exception as error:  # noqa: BLE001 - whatever the cause, the replica cannot be read
            self._give_up("does not answer", error)
        else:
            self._use(replayed_at, position)

    async def _note_moment(self) -> None:
        """Note how far the primary has written by now. While it does not answer, the replica gets no newer either."""
        with suppress(Exception):
            async with asyncio.timeout(_LOOK_SECONDS_MAX), self._primary.engine.connect() as connection:
                moment, position = (await connection.execute(_WRITTEN)).one()
                self._moments.append((position, moment))

    def _use(self, replayed_at: datetime | None, position: int) -> None:
        seen = [replayed_at, *(moment for written, moment in self._moments if written <= position)]
        self.as_of = max((moment for moment in seen if moment is not None), default=None)
        if self.as_of is None:
            self.usable, self.trouble = False, "has replayed nothing yet"
            return
        if not self.usable:
            logger.info("the replica is read again")
        self.usable, self.trouble = True, None

    def _give_up(self, trouble: str, error: BaseException) -> None:
        self.usable, self.as_of, self.trouble = False, None, trouble
        logger.warning("the replica is not read", extra={"reason": f"it {trouble}: {reason(error)}"})
