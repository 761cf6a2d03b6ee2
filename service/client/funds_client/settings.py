"""How long a client waits and how often it asks again, as one value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Times in seconds. A call takes ``deadline_seconds + fence_seconds`` at most, whatever fails; of a batch, each of
    its requests does.
    """

    connect_seconds: float = 3.0
    """How long making a connection may take; what cannot connect has certainly sent nothing."""
    attempt_seconds: float = 10.0
    """How long one request may take, from its first byte to the last of its answer."""
    deadline_seconds: float = 30.0
    """How long a call goes on sending its request."""
    fence_seconds: float = 10.0
    """How long a call then takes to end its doubt."""
    fences: bool = True
    """Whether a call that is still in doubt at its deadline fences its keys. Without it, the call ends with
    OutcomeUnknownError, and its intent can be resumed later."""
    backoff_seconds: float = 0.1
    """Between the first request and the second one lies a random time up to this; up to twice as much after that, …"""
    backoff_seconds_max: float = 5.0
    """… up to at most this."""
    retries_saved_max: int = 100
    """How many retries the client has at its start, and can save: its budget, of all its calls together."""
    retries_per_call: float = 0.2
    """How much each call adds to the budget. In an outage a client sends this much more than without one, no more."""
    batch_items_max: int = 1_000
    """How many items of a batch one request has, but for a group, which is never divided."""

    def backoff(self, retries: int, chance: float) -> float:
        """Return how long to wait after ``retries`` retries: exponential, with full jitter. ``chance`` is from 0 to 1.

        Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        doublings = min(retries, _DOUBLINGS_MAX)
        return chance * min(self.backoff_seconds_max, self.backoff_seconds * 2.0**doublings)


_DOUBLINGS_MAX = 30
"""Beyond these, the backoff is at its maximum under any settings that make sense, and a float stays finite."""


class RetryBudget:
    """The retries that all calls of a client have together (as Finagle's RetryBudget): each call adds a little, each
    retry takes one, so that a client multiplies no outage.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._saved_max = float(settings.retries_saved_max)
        self._per_call = settings.retries_per_call
        self._saved = self._saved_max

    def add_call(self) -> None:
        """Count a call."""
        self._saved = min(self._saved_max, self._saved + self._per_call)

    def take(self) -> bool:
        """Take a retry, if there is one."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
