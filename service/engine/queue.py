"""What waits for the engine: a bounded queue with a lane a ledger."""

import asyncio
from collections import deque
from collections.abc import Sequence

from service.domain.book import Answer
from service.domain.commands import AnyCommand

Unit = Sequence[AnyCommand]
"""Commands that apply together or not at all."""


class OverloadedError(Exception):
    """The engine cannot take this now; certainly nothing of it was or will be applied."""


class Submission:
    """Units of one ledger that go into one transaction, and where their answers are awaited.

    ``answers`` holds a list of answers for each unit. ``accepted_at`` is the loop's monotonic time, in seconds.
    """

    __slots__ = ("accepted_at", "answers", "command_count", "ledger_id", "units")

    def __init__(self, ledger_id: int, units: Sequence[Unit]) -> None:
        loop = asyncio.get_running_loop()
        self.ledger_id = ledger_id
        self.units = units
        self.command_count = sum(map(len, units))
        self.answers: asyncio.Future[list[list[Answer]]] = loop.create_future()
        self.accepted_at = loop.time()


class SubmissionQueue:
    """Submissions in order of arrival for each ledger; ledgers take turns. Holds at most ``commands_max`` commands.

    One batch of a ledger is out at a time: a second one would only wait for the first one's row locks, and what arrives
    meanwhile makes the next batch larger.
    """

    def __init__(self, commands_max: int) -> None:
        self._commands_max = commands_max
        self._command_count = 0
        self._ready: dict[int, deque[Submission]] = {}
        self._busy: dict[int, deque[Submission]] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def put(self, submission: Submission) -> None:
        """Add ``submission``. Raises OverloadedError when the queue is closed or full; an empty one takes any size."""
        if self._closed:
            raise OverloadedError("the service is shutting down")
        if self._command_count and self._command_count + submission.command_count > self._commands_max:
            raise OverloadedError("the queue is full")
        self._command_count += submission.command_count
        busy = self._busy.get(submission.ledger_id)
        if busy is not None:
            busy.append(submission)
            return
        self._ready.setdefault(submission.ledger_id, deque()).append(submission)
        self._wake_one()

    async def take(self, commands_max: int) -> list[Submission]:
        """Wait for submissions and return what waits for the ledger whose turn it is, oldest first; no more of this
        ledger is taken until ``release``.

        Returns at most ``commands_max`` commands, but at least one submission; nothing once closed and empty.
        """
        while not self._ready:
            if self._closed:
                return []
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        ledger_id, lane = next(iter(self._ready.items()))
        self._busy[ledger_id] = self._ready.pop(ledger_id)
        taken = [lane.popleft()]
        count = taken[0].command_count
        while lane and count + lane[0].command_count <= commands_max:
            taken.append(lane.popleft())
            count += taken[-1].command_count
        self._command_count -= count
        return taken

    def release(self, ledger_id: int) -> None:
        """Let the next batch of a ledger be taken, behind those of the others."""
        lane = self._busy.pop(ledger_id)
        if lane:
            self._ready[ledger_id] = lane
            self._wake_one()

    def close(self) -> None:
        """Accept nothing more; takers drain what is there and then get nothing."""
        self._closed = True
        while self._waiters:
            self._wake_one()

    def drain(self) -> list[Submission]:
        """Remove and return what still waits."""
        waiting = [submission for lane in (*self._ready.values(), *self._busy.values()) for submission in lane]
        self._ready.clear()
        for lane in self._busy.values():
            lane.clear()
        self._command_count = 0
        return waiting

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
