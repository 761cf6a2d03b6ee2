"""One log line for one cause: a line that repeats within a minute is counted and not written again."""

import logging
import time
from collections.abc import Callable

REPEAT_SECONDS = 60.0
_CAUSES_MAX = 1_000


class RepeatFilter(logging.Filter):
    """Lets a record that carries a ``reason`` pass once in REPEAT_SECONDS for each logger, message and reason.

    The next record to pass says in ``repeated`` how many did not. While the database is unavailable, every request
    fails for the same reason: a line with a traceback for each of them would hide the cause and fill the disk. Records
    without a ``reason`` always pass.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, object, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is to be written."""
        reason = getattr(record, "reason", None)
        if reason is None:
            return True
        now = self._clock()
        cause = (record.name, record.msg, reason)
        since, repeated = self._seen.get(cause, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._seen[cause] = (since, repeated + 1)
            return False
        if len(self._seen) >= _CAUSES_MAX:
            self._seen.clear()
        self._seen[cause] = (now, 0)
        if repeated:
            record.repeated = repeated
        return True
