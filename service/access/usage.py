"""What one client may ask for: how many requests at a time, and how many a second. Counted in each worker by itself."""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self, TypeVar

from service.errors import RateLimitedError
from service.settings import Settings

T = TypeVar("T")

_CLIENTS_MAX = 10_000
"""How many clients are kept before those are forgotten that ask for nothing."""


class Allowance(NamedTuple):
    """How many requests a second a client may send, and how many are left of them now."""

    per_second: int
    left: int


class ClientUsage:
    """The requests of one client that are being worked on, and the tokens of its bucket.

    The bucket holds the requests of one second and fills steadily. Nothing here waits or locks: a worker's requests
    run in one thread, and no other task runs between two awaits.
    """

    __slots__ = ("_clock", "_filled_at", "_per_second", "_requests_max", "_tokens", "requests")

    def __init__(self, requests_max: int, per_second: int, clock: Callable[[], float]) -> None:
        self.requests = 0
        self._requests_max = requests_max
        self._per_second = per_second
        self._tokens = float(per_second)
        self._clock = clock
        self._filled_at = clock()

    def __enter__(self) -> Self:
        """Begin a request. Raises RateLimitedError when the client has too many at a time."""
        if self.requests >= self._requests_max:
            raise RateLimitedError(
                f"This client has {self._requests_max} requests under way, and may have no more at a time."
            )
        self.requests += 1
        return self

    def __exit__(self, *_: object) -> None:
        """End a request."""
        self.requests -= 1

    def uncounted(self, wait: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        """Return ``wait``, during which the request does not count: its body is arriving and nothing works on it. The
        server bounds how long that may take, and how much of all bodies is kept.
        """

        async def wait_uncounted() -> T:
            self.requests -= 1
            try:
                return await wait()
            finally:
                self.requests += 1

        return wait_uncounted

    @property
    def rated(self) -> bool:
        """Whether requests a second are limited."""
        return self._per_second > 0

    @property
    def idle(self) -> bool:
        """Whether it is as it would be made: no request is worked on, and the bucket is full."""
        self._fill()
        return self.requests == 0 and self._tokens >= self._per_second

    def spend(self) -> Allowance:
        """Take one request from the bucket; return what is left of it. Raises RateLimitedError when it is empty."""
        self._fill()
        if self._tokens < 1:
            raise RateLimitedError(
                f"This client may send {self._per_second} requests a second.", per_second=self._per_second
            )
        self._tokens -= 1
        return Allowance(self._per_second, int(self._tokens))

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._per_second, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now


class ClientLimits:
    """The usage of every client that was seen; tokens of one client share it.

    An issuer may name any number of clients: from time to time those are forgotten that ask for nothing. Whoever keeps
    the usage of one that was forgotten, as verified tokens do for a second, goes on with it.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests_max = settings.client_requests_max
        self._per_second = settings.client_requests_per_second
        self._clock = clock
        self._usage: dict[str, ClientUsage] = {}
        self._clients_max = _CLIENTS_MAX

    def of(self, client: str) -> ClientUsage:
        """Return the usage of ``client``."""
        usage = self._usage.get(client)
        if usage is None:
            if len(self._usage) >= self._clients_max:
                self._usage = {name: one for name, one in self._usage.items() if not one.idle}
                self._clients_max = max(_CLIENTS_MAX, 2 * len(self._usage))
            usage = self._usage[client] = ClientUsage(self._requests_max, self._per_second, self._clock)
        return usage
