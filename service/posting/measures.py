"""What is counted of batches: how long each phase of them takes, how large they are, what was decided."""

import time
from collections import Counter
from collections.abc import Sequence

from service.domain.decisions import CommandAnswer, Fenced
from service.domain.rejections import Rejection
from service.posting.queue import Submission
from service.telemetry import metrics, spans


class Laps:
    """How many seconds a batch has spent in each phase (``metrics.PHASES``), from when this is made."""

    __slots__ = ("_seconds", "_since")

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._seconds: dict[str, float] = {}

    def end(self, phase: str) -> None:
        """Note that what was done since the last phase ended belongs to ``phase``; one may come several times."""
        now = time.monotonic()
        span = spans.current.get()
        if span is not None:
            ended_ns = time.time_ns()
            span.add(phase, ended_ns - int((now - self._since) * 1e9), ended_ns)
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._since
        self._since = now

    def count(self) -> None:
        """Count the phases of a batch that is committed."""
        for phase, seconds in self._seconds.items():
            metrics.batch_phases.observe(seconds, phase)


def count_batch(
    submissions: Sequence[Submission], answers: Sequence[Sequence[CommandAnswer]], *, queued_seconds: float
) -> None:
    """Count a committed batch: ``answers`` are those to the groups of ``submissions``, whose oldest one has waited for
    ``queued_seconds``.
    """
    metrics.batch_phases.observe(queued_seconds, "queue")
    metrics.batch_commands.observe(sum(submission.command_count for submission in submissions))
    groups = (group for submission in submissions for group in submission.groups)
    counts = Counter(
        (type(command), type(answer.result), answer.replayed)
        for group, its in zip(groups, answers, strict=True)
        for command, answer in zip(group, its, strict=True)
    )
    for (command, result, replayed), count in counts.items():
        operation = metrics.operation_of(command)
        if replayed:
            metrics.replays.add(operation, count=count)
        else:
            metrics.decisions.add(operation, _code(result), count=count)


def _code(result: type) -> str:
    if issubclass(result, Rejection):
        return result.code
    return metrics.FENCED if result is Fenced else metrics.APPLIED
