"""How much slower than a quiet machine this one is now: tests of how soon give everything that much more time, the
limits of the service and their own bounds alike, so that what must come before what stays the same.
"""

import time
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import structs

from service.api import readiness
from service.app import readers
from service.settings import Settings
from service.storage import database, retries, slots, transactions
from tests.support.patience import PATIENT

WORK_CPU_SECONDS = 0.05
QUIET_TIMES_MAX = 1.3
"""Up to here nothing is stretched: the other half of the tests may run beside."""
MARGIN_TIMES = 2.0
"""A request passes through several processes, and each of them waits for its turn."""
TIMES_MAX = 8.0
"""However busy the machine is, no test waits for longer than this times its time."""

WAITS: tuple[tuple[Any, str], ...] = (
    (database, "_CHECK_SECONDS_MAX"),
    (database, "_CLIENT_TIMEOUT_MARGIN_SECONDS"),
    (retries, "_ATTEMPT_SECONDS_MIN"),
    (retries, "_STEP_SECONDS_MAX"),
    (slots, "WAIT_SECONDS_MAX"),
    (transactions, "READ_SECONDS_MAX"),
    (readers, "ACCESS_SECONDS_MAX"),
)
"""How long is waited where no setting says it: constants by module."""


@dataclass(frozen=True)
class Pace:
    """``times`` is 1 on a quiet machine."""

    times: float

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that PATIENT changes as they are of themselves, stretched."""
        usual = Settings()
        return {name: type(getattr(usual, name))(getattr(usual, name) * self.times) for name in PATIENT}

    def seconds(self, quiet: float) -> float:
        """What takes ``quiet`` seconds at most on a quiet machine may take so many now."""
        return quiet * self.times

    def stretch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stretch WAITS, and what readiness waits, for the time of a test."""
        for module, name in WAITS:
            monkeypatch.setattr(module, name, getattr(module, name) * self.times)
        limits = readiness._LIMITS
        limits = structs.replace(limits, deadline_seconds=limits.deadline_seconds * self.times)
        monkeypatch.setattr(readiness, "_LIMITS", limits)


def measure() -> Pace:
    """Compare how long some work takes with the CPU time that it needs: the rest of the time others had the core."""
    began, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < WORK_CPU_SECONDS:
        pass
    times = (time.monotonic() - began) / (time.thread_time() - used)
    return Pace(1.0 if times <= QUIET_TIMES_MAX else min(times * MARGIN_TIMES, TIMES_MAX))
