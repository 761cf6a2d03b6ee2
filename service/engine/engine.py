"""The engine: takes submissions, gathers what waits, settles it, answers everyone."""

import asyncio
import logging
from collections.abc import Sequence

from service.domain.book import Answer
from service.domain.commands import Command
from service.engine.queue import OverloadedError, Submission, SubmissionQueue, Unit
from service.engine.settle import SettlementError, rehearse, settle
from service.settings import Settings
from service.storage.database import Database
from service.storage.errors import Failure, StorageError, reason
from service.storage.places import Places

logger = logging.getLogger(__name__)


class TransferEngine:
    """Group commit. ``settings.batches_in_flight_max`` committers each take everything that waits for a ledger (no
    timer, no added delay), and while the database commits this batch the ledger's next one gathers.

    The transactions belong to the engine: a caller that goes away cancels nothing. Dry runs have connections of their
    own (``rehearsal_database``; None where there are no dry runs, or nobody to disturb) and as many places.
    """

    def __init__(self, database: Database, settings: Settings, *, rehearsal_database: Database | None = None) -> None:
        self._database = database
        self._rehearsal_database = rehearsal_database or database
        self._rehearsal_places = Places(settings.dry_run_pool_size)
        self._settings = settings
        self._queue = SubmissionQueue(settings.queue_commands_max)
        self._committers: list[asyncio.Task[None]] = []

    @property
    def running(self) -> bool:
        """Whether every committer is at work."""
        return bool(self._committers) and not any(task.done() for task in self._committers)

    async def start(self) -> None:
        """Start the committers."""
        self._committers = [
            asyncio.create_task(self._commit_batches(), name=f"committer-{number}")
            for number in range(self._settings.batches_in_flight_max)
        ]

    async def stop(self) -> None:
        """Accept nothing more, finish what is queued, within ``drain_timeout_seconds``."""
        self._queue.close()
        if self._committers:
            _, pending = await asyncio.wait(self._committers, timeout=self._settings.drain_timeout_seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        for submission in self._queue.drain():
            _fail(submission, OverloadedError("the service is shutting down"))

    async def submit(self, ledger_id: int, units: Sequence[Unit]) -> list[list[Answer]]:
        """Apply ``units`` in one transaction with others of the ledger; return the answers of each unit.

        Raises OverloadedError (certainly not applied), StorageError or SettlementError (which say whether the outcome
        is known).
        """
        submission = Submission(ledger_id, units)
        self._queue.put(submission)
        return await submission.answers

    async def rehearse(self, ledger_id: int, units: Sequence[Unit]) -> list[list[Answer]]:
        """Return how ``units`` would be answered now; nothing is stored. They are all of one client.

        Raises NoPlaceError or StorageError.
        """
        client = next((command.client_id for unit in units for command in unit if isinstance(command, Command)), "")
        async with self._rehearsal_places.taken(client):
            return await rehearse(self._rehearsal_database, self._settings, ledger_id, units)

    async def _commit_batches(self) -> None:
        while taken := await self._queue.take(self._settings.batch_commands_max):
            ledger_id = taken[0].ledger_id
            try:
                await self._commit(ledger_id, self._without_expired(taken))
            finally:
                self._queue.release(ledger_id)

    async def _commit(self, ledger_id: int, batch: Sequence[Submission]) -> None:
        units = [unit for submission in batch for unit in submission.units]
        if not units:
            return
        try:
            answers = await settle(
                self._database, self._settings, ledger_id, units, deadline_seconds=self._seconds_left(batch)
            )
        except asyncio.CancelledError:  # the drain took too long; a COMMIT may be under way
            for submission in batch:
                _fail(submission, StorageError(Failure.UNAVAILABLE, outcome_unknown=True))
            raise
        except (StorageError, SettlementError) as error:
            if isinstance(error, SettlementError):  # of the other, storage has told already
                cause = error.__cause__ or error
                logger.exception("batch failed", exc_info=cause, extra={"reason": reason(cause)})
            for submission in batch:
                _fail(submission, error)
        else:
            remaining = iter(answers)
            for submission in batch:
                own = [next(remaining) for _ in submission.units]
                if not submission.answers.done():  # its caller has gone away
                    submission.answers.set_result(own)

    def _seconds_left(self, batch: Sequence[Submission]) -> float:
        """Return how long ``batch`` may take: what its oldest submission has left of the deadline, and half of the
        deadline at least, so that a full queue does not make a sound database look lost.
        """
        deadline = self._settings.commit_deadline_seconds
        waited = asyncio.get_running_loop().time() - batch[0].accepted_at
        return max(deadline - waited, deadline / 2)

    def _without_expired(self, taken: list[Submission]) -> list[Submission]:
        """Refuse what has waited too long: its caller may have given up, and nothing of it was sent."""
        oldest = asyncio.get_running_loop().time() - self._settings.queue_wait_seconds_max
        batch = []
        for submission in taken:
            if submission.accepted_at < oldest:
                _fail(submission, OverloadedError("waited too long in the queue"))
            else:
                batch.append(submission)
        return batch


def _fail(submission: Submission, error: Exception) -> None:
    if not submission.answers.done():  # its caller has gone away
        submission.answers.set_exception(error)
