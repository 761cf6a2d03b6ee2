"""Group commit: takes submissions, commits everything that waits for a ledger in one batch, answers everyone."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from service import tasks
from service.domain.commands import Command
from service.domain.decisions import CommandAnswer
from service.domain.executor import Group
from service.errors import BatchFailedError, Failure, OverloadedError, StorageError
from service.posting.batch import commit_batch, dry_run
from service.posting.damage import DamagedLedgers
from service.posting.measures import count_batch
from service.posting.queue import Submission, SubmissionQueue
from service.settings import Settings
from service.storage.errors import reason
from service.storage.slots import Slots
from service.storage.transactions import Transactions
from service.telemetry.spans import BatchSpan

logger = logging.getLogger(__name__)


class Committer:
    """Commits batches: ``settings.batches_in_flight_max`` at a time, of as many ledgers. Each takes everything that
    waits for its ledger (no timer, no added delay), with what arrives until it has locked the ledger's head. While the
    database commits it, the ledger's next one gathers.

    The transactions belong to the committer: a caller that goes away cancels nothing. Dry runs have ``snapshots`` of
    their own (Mode.SNAPSHOT; None where there are no dry runs) and as many places. ``damaged`` says which ledgers are
    stopped.
    """

    def __init__(
        self,
        transactions: Transactions,
        settings: Settings,
        *,
        snapshots: Transactions | None = None,
        damaged: DamagedLedgers | None = None,
    ) -> None:
        self._damaged = damaged or DamagedLedgers(stop=False)
        self._transactions = transactions
        self._snapshots = snapshots
        self._dry_run_slots = Slots(settings.dry_run_pool_size)
        self._settings = settings
        self._queue = SubmissionQueue(settings.queue_commands_max)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> bool:
        """Whether batches are committed."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def command_count(self) -> int:
        """How many commands wait to be committed."""
        return self._queue.command_count

    @property
    def queue_age_seconds(self) -> float:
        """How long the oldest of them has waited; 0 where none does."""
        oldest = self._queue.oldest_accepted_at
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    async def start(self) -> None:
        """Begin to commit."""
        self._tasks = [
            asyncio.create_task(self._commit_batches(), name=f"committer-{number}")
            for number in range(self._settings.batches_in_flight_max)
        ]

    async def stop(self) -> None:
        """Accept nothing more, finish what is queued, within ``drain_timeout_seconds``."""
        self._queue.close()
        await tasks.end(self._tasks, seconds_max=self._settings.drain_timeout_seconds)
        for submission in self._queue.drain():
            _fail(submission, OverloadedError("the service is shutting down"))

    async def submit(self, ledger_id: int, groups: Sequence[Group]) -> list[list[CommandAnswer]]:
        """Apply ``groups`` in one transaction with others of the ledger; return the answers of each group.

        Raises OverloadedError or LedgerDamagedError (certainly not applied), StorageError or BatchFailedError (which
        say whether the outcome is known).
        """
        self._damaged.refuse_writes(ledger_id)
        submission = Submission(ledger_id, groups)
        self._queue.put(submission)
        return await submission.answers

    async def dry_run(self, ledger_id: int, groups: Sequence[Group]) -> list[list[CommandAnswer]]:
        """Return how ``groups``, all of one client, would be answered now. Nothing is stored.

        Raises NoSlotError or StorageError.
        """
        assert self._snapshots is not None, "made for dry runs"
        client = next((command.client_id for group in groups for command in group if isinstance(command, Command)), "")
        async with self._dry_run_slots.taken(client):
            return await dry_run(self._snapshots, self._settings, ledger_id, groups)

    async def _commit_batches(self) -> None:
        while batch := await self._queue.take(self._settings.batch_commands_max):
            ledger_id = batch[0].ledger_id
            try:
                batch = self._without_expired(batch)
                await self._commit(ledger_id, batch)
            except Exception as error:  # noqa: BLE001 - whatever it is beside the transaction, it ends this batch alone
                _log(error)
                for submission in batch:  # those that are not answered yet
                    _fail(submission, BatchFailedError(in_doubt=True))
            finally:
                self._queue.release(ledger_id)

    async def _commit(self, ledger_id: int, batch: list[Submission]) -> None:
        if not batch:
            return
        queued_seconds = asyncio.get_running_loop().time() - batch[0].accepted_at
        span = BatchSpan()
        span.gather(batch)
        failure: Exception | None = None
        try:
            answers = await commit_batch(
                self._transactions,
                self._settings,
                ledger_id,
                partial(self._gather, ledger_id, batch, span),
                deadline_seconds=self._seconds_left(batch),
            )
        except asyncio.CancelledError:  # the drain took too long; a COMMIT may be under way
            failure = StorageError(Failure.UNAVAILABLE, in_doubt=True)
            for submission in batch:
                _fail(submission, failure)
            raise
        except (StorageError, BatchFailedError) as error:
            failure = error
            if isinstance(error, BatchFailedError):  # a StorageError is logged where it is raised
                _log(error.__cause__ or error)
            for submission in batch:
                _fail(submission, error)
        else:
            _answer(batch, answers)
            if self._settings.metrics:
                count_batch(batch, answers, queued_seconds=queued_seconds)
        finally:
            span.end(batch, sum(submission.command_count for submission in batch), failure)

    def _gather(self, ledger_id: int, batch: list[Submission], span: BatchSpan) -> list[Group]:
        """Add to ``batch`` what has arrived for it, and return its groups: those that expire holds first, for others
        may need the room.
        """
        room = self._settings.batch_commands_max - sum(submission.command_count for submission in batch)
        batch += self._without_expired(self._queue.take_more(ledger_id, room))
        batch.sort(key=lambda submission: not submission.expires_holds)
        span.gather(batch)
        return [group for submission in batch for group in submission.groups]

    def _seconds_left(self, batch: Sequence[Submission]) -> float:
        """Return how long ``batch`` may take: what its oldest submission has left of the deadline, but at least half of
        the deadline. Otherwise a full queue would leave a healthy database too little time.
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


def _log(error: BaseException) -> None:
    logger.error("batch failed", exc_info=error, extra={"reason": reason(error)})


def _answer(batch: Sequence[Submission], answers: Sequence[list[CommandAnswer]]) -> None:
    remaining = iter(answers)
    for submission in batch:
        own = [next(remaining) for _ in submission.groups]
        if not submission.answers.done():  # its caller has gone away
            submission.answers.set_result(own)


def _fail(submission: Submission, error: Exception) -> None:
    if not submission.answers.done():  # its caller has gone away
        submission.answers.set_exception(error)
