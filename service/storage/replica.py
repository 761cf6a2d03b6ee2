"""The replica: whether reads may use it now, and what they see there at least."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from service.storage.database import Database
from service.storage.errors import reason
from service.storage.migrations import SchemaBehindError, verify_revision

logger = logging.getLogger(__name__)

READ_SECONDS_MAX = 1.5
"""How long a read may take on the replica before the primary is asked instead."""
_LOOK_INTERVAL_SECONDS = 1.0
_LOOK_SECONDS_MAX = 1.0
_LEFT_ALONE_SECONDS = 5.0
_MOMENTS_MAX = 600
_BEHIND = timedelta(seconds=10)

# Flushed, because a commit is shown to nobody before its record is: who reads at this moment sees what lies before it.
_WRITTEN = text("SELECT clock_timestamp(), (pg_current_wal_flush_lsn() - '0/0')::bigint")
_REPLAYED = text("""
    SELECT pg_last_xact_replay_timestamp(),
           (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END
            - '0/0')::bigint
""")


class Replica:
    """Looks at the replica every second, so that no read has to find out by waiting.

    A replica that failed a read is left alone for _LEFT_ALONE_SECONDS and then looked at again, by one look and not by
    the reads of callers, until it answers and its schema is the service's. ``primary`` is asked how far it has written:
    once the replica has replayed as much, what is read there is as of that moment at least.
    """

    def __init__(self, database: Database, primary: Database) -> None:
        self._database = database
        self._primary = primary
        self._moments: deque[tuple[int, datetime]] = deque(maxlen=_MOMENTS_MAX)
        self._left_alone_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self.usable = False
        self.as_of: datetime | None = None
        self.trouble: str | None = "not looked at yet"

    async def start(self) -> None:
        """Look once, then go on looking."""
        await self.look()
        self._task = asyncio.create_task(self._watch(), name="replica-watch")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def fail(self, error: BaseException) -> None:
        """Leave the replica alone for a while: a read met ``error`` there."""
        self._left_alone_until = asyncio.get_running_loop().time() + _LEFT_ALONE_SECONDS
        self._give_up("failed a read", error)

    @property
    def behind(self) -> bool:
        """Whether what is read there is much older than now."""
        return self.as_of is not None and datetime.now(UTC) - self.as_of > _BEHIND

    async def look(self) -> None:
        """Find out whether the replica answers, has the service's schema, and how far it is."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica cannot be read
            self._give_up("does not answer", error)
        else:
            self._use(replayed_at, position)

    async def _note_moment(self) -> None:
        """Remember how far the primary has written by now; while it is away, the replica gets no newer either."""
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

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_SECONDS)
            await self.look()
