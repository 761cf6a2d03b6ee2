"""The sweeper: frees what expired holds reserve."""

import asyncio
import logging
from contextlib import suppress
from itertools import groupby

from service.domain.commands import ExpireHold
from service.domain.holds import Hold, HoldStatus
from service.engine.engine import TransferEngine
from service.engine.queue import OverloadedError
from service.engine.settle import SettlementError
from service.settings import Settings
from service.storage.database import Database
from service.storage.errors import StorageError, reason
from service.storage.holds import HoldRepository
from service.storage.retry import run_with_retries

logger = logging.getLogger(__name__)


class HoldSweeper:
    """Looks for holds past their time, ``settings.hold_sweep_interval_seconds`` after the last time it freed few, and
    has the engine expire them, so that expiry takes its turn with captures and voids of the same hold.

    Any number of instances may sweep at once: a hold that someone is settling is skipped, and to expire a hold that
    has met its end changes nothing.
    """

    def __init__(self, engine: TransferEngine, database: Database, settings: Settings) -> None:
        self._engine = engine
        self._database = database
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Start looking."""
        self._task = asyncio.create_task(self._run(), name="hold-sweeper")

    async def stop(self) -> None:
        """Finish the look that is under way, within ``drain_timeout_seconds``, and look no more."""
        self._stopping.set()
        if self._task is not None:
            _, pending = await asyncio.wait([self._task], timeout=self._settings.drain_timeout_seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def sweep(self) -> int:
        """Expire up to ``settings.hold_sweep_holds_max`` holds and return how many of them are expired now: one of an
        account that is too far ahead of the clock stays open.

        Raises StorageError, SettlementError or OverloadedError; what is left is found the next time.
        """

        async def attempt() -> list[tuple[int, ExpireHold]]:
            async with self._database.sessions() as session, session.begin():
                found = await HoldRepository(session).expired(limit=self._settings.hold_sweep_holds_max)
                return [(ledger_id, ExpireHold(hold_id=hold_id)) for ledger_id, hold_id in found]

        expired = await run_with_retries(
            attempt,
            attempts_max=self._settings.read_attempts_max,
            deadline_seconds=self._settings.read_deadline_seconds,
        )
        freed = 0
        for ledger_id, commands in groupby(sorted(expired, key=lambda one: one[0]), key=lambda one: one[0]):
            answers = await self._engine.submit(ledger_id, [[command] for _, command in commands])
            freed += sum(
                isinstance(one.outcome, Hold) and one.outcome.status == HoldStatus.EXPIRED for [one] in answers
            )
        return freed

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                freed = await self.sweep()
            except (StorageError, SettlementError, OverloadedError) as error:
                logger.warning("the sweep for expired holds failed and is tried again", extra={"reason": reason(error)})
                freed = 0
            if freed < self._settings.hold_sweep_holds_max:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._settings.hold_sweep_interval_seconds)
