"""What one client may ask for: how many requests at a time, and how many a second. Counted in each worker by itself."""

import time
from collections.abc import Callable
from typing import Any, Self

from litestar.types import Receive

from service.api.problems import ProblemError
from service.settings import Settings

_RETRY_AFTER = {"Retry-After": "1"}


class ClientUsage:
    """The requests of one client that are being worked on, and the tokens of its bucket.

    The bucket holds the requests of one second and fills steadily. Nothing here waits or locks: a worker's requests
    meet in one thread, and between two awaits nobody comes in between.
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
        """Begin a request. Raises ProblemError (rate_limited) when the client has too many at a time."""
        if self.requests >= self._requests_max:
            raise ProblemError(
                "rate_limited",
                f"This client has {self._requests_max} requests under way, and may have no more at a time.",
                headers=_RETRY_AFTER,
            )
        self.requests += 1
        return self

    def __exit__(self, *_: object) -> None:
        """End a request."""
        self.requests -= 1

    def uncounted(self, receive: Receive) -> Receive:
        """Return ``receive``, during which the request does not count: its body is arriving and nothing works on it.
        The server bounds how long that may take, and how much of all bodies is kept.
        """

        async def receive_uncounted() -> Any:
            self.requests -= 1
            try:
                return await receive()
            finally:
                self.requests += 1

        return receive_uncounted

    @property
    def rated(self) -> bool:
        """Whether requests a second are limited."""
        return self._per_second > 0

    def spend(self) -> dict[str, str]:
        """Take one request from the bucket; return the headers that tell what is left of it (draft -11 of the IETF's
        RateLimit header fields: q requests in w seconds; r are left, and t seconds until there are q again).

        Raises ProblemError (rate_limited), with the same headers.
        """
        now = self._clock()
        self._tokens = min(self._per_second, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        allowed = self._tokens >= 1
        if allowed:
            self._tokens -= 1
        headers = {
            "RateLimit-Policy": f'"client";q={self._per_second};w=1',
            "RateLimit": f'"client";r={int(self._tokens)};t=1',
        }
        if not allowed:
            raise ProblemError(
                "rate_limited",
                f"This client may send {self._per_second} requests a second.",
                headers=headers | _RETRY_AFTER,
            )
        return headers


class ClientLimits:
    """The usage of every client that was seen; tokens of one client share it."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests_max = settings.client_requests_max
        self._per_second = settings.client_requests_per_second
        self._clock = clock
        self._usage: dict[str, ClientUsage] = {}

    def of(self, client: str) -> ClientUsage:
        """Return the usage of ``client``. There are as many as there were clients with a token."""
        usage = self._usage.get(client)
        if usage is None:
            usage = self._usage[client] = ClientUsage(self._requests_max, self._per_second, self._clock)
        return usage
