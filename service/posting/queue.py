"""What waits to be committed: a bounded queue for each ledger."""

import asyncio
from collections import deque
from collections.abc import Sequence

from service.domain.commands import ExpireHold
from service.domain.decisions import CommandAnswer
from service.domain.executor import Group
from service.errors import OverloadedError
from service.telemetry import spans


class Submission:
    """Groups of one ledger that go into one transaction, and where their answers are awaited.

    ``answers`` holds a list of answers for each group. ``accepted_at`` is the loop's monotonic time, in seconds.
    ``expires_holds`` tells what the sweeper submits, ``span`` that a request is sampled.
    """

    __slots__ = ("accepted_at", "answers", "command_count", "expires_holds", "groups", "ledger_id", "span")

    def __init__(self, ledger_id: int, groups: Sequence[Group]) -> None:
        loop = asyncio.get_running_loop()
        self.ledger_id = ledger_id
        self.groups = groups
        self.command_count = sum(map(len, groups))
        self.expires_holds = any(isinstance(command, ExpireHold) for group in groups[:1] for command in group)
        self.answers: asyncio.Future[list[list[CommandAnswer]]] = loop.create_future()
        self.accepted_at = loop.time()
        self.span = spans.current.get()


class SubmissionQueue:
    """Submissions in order of arrival for each ledger; ledgers take turns. Holds at most ``commands_max`` commands, and
    ``command_count`` now.

    One batch of a ledger is taken at a time: a second one would only wait for the first one's lock on the head, and
    what arrives meanwhile makes this batch larger, or the next one.
    """

    def __init__(self, commands_max: int) -> None:
        self._commands_max = commands_max
        self.command_count = 0
        self._ready: dict[int, deque[Submission]] = {}
        self._busy: dict[int, deque[Submission]] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def oldest_accepted_at(self) -> float | None:
        """When the submission came that has waited for longest; None where none waits."""
        first = (waiting[0].accepted_at for waiting in (*self._ready.values(), *self._busy.values()) if waiting)
        return min(first, default=None)

    def put(self, submission: Submission) -> None:
        """Add ``submission``. Raises OverloadedError when the queue is closed or full; an empty one takes any size."""
        if self._closed:
            raise OverloadedError("the service is shutting down")
        if self.command_count and self.command_count + submission.command_count > self._commands_max:
            raise OverloadedError("the queue is full")
        self.command_count += submission.command_count
        busy = self._busy.get(submission.ledger_id)
        if busy is not None:
            busy.append(submission)
            return
        self._ready.setdefault(submission.ledger_id, deque()).append(submission)
        self._wake_one()

    async def take(self, commands_max: int) -> list[Submission]:
        """Wait for submissions and return those of the ledger whose turn it is, oldest first. No more of this ledger
        are taken until ``release``.

        Returns at most ``commands_max`` commands, but at least one submission; nothing once closed and empty.
        """
        while not self._ready:
            if self._closed:
                return []
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        ledger_id, waiting = next(iter(self._ready.items()))
        self._busy[ledger_id] = self._ready.pop(ledger_id)
        first = waiting.popleft()
        self.command_count -= first.command_count
        return [first, *self.take_more(ledger_id, commands_max - first.command_count)]

    def take_more(self, ledger_id: int, commands_max: int) -> list[Submission]:
        """Return what has arrived for the ledger whose batch was taken, oldest first and none before its turn: at most
        ``commands_max`` commands.
        """
        waiting = self._busy[ledger_id]
        taken = []
        while waiting and waiting[0].command_count <= commands_max:
            taken.append(waiting.popleft())
            commands_max -= taken[-1].command_count
            self.command_count -= taken[-1].command_count
        return taken

    def release(self, ledger_id: int) -> None:
        """Let the next batch of a ledger be taken, after those of the other ledgers."""
        waiting = self._busy.pop(ledger_id)
        if waiting:
            self._ready[ledger_id] = waiting
            self._wake_one()

    def close(self) -> None:
        """Accept nothing more. ``take`` returns what is still there, and then nothing."""
        self._closed = True
        while self._waiters:
            self._wake_one()

    def drain(self) -> list[Submission]:
        """Remove and return what still waits."""
        left = [submission for waiting in (*self._ready.values(), *self._busy.values()) for submission in waiting]
        self._ready.clear()
        for waiting in self._busy.values():
            waiting.clear()
        self.command_count = 0
        return left

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
