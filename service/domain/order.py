"""The order of facts, and how it differs from the clock.

The clock is the database's, read after the locks: it decides on expiry, windows and default value dates. The order is
where a fact stands (``created_at``, and its identifier with it): it rises along every account, also when the clock was
set back, or when another server's clock was behind. Normally a fact's place is the clock's time.
"""

from datetime import datetime, timedelta

_STEP = timedelta(microseconds=1)


def next_place(last_change: datetime, clock: datetime) -> datetime:
    """Return the place of what is to follow ``last_change`` at the time ``clock``."""
    return max(clock, last_change + _STEP)
