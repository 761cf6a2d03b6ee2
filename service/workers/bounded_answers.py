"""Asking others over HTTP, whose answer may be anything, and take any time: size and time are bounded, redirects are
not followed, and what is compressed is not unpacked.
"""

import asyncio
from collections.abc import Collection, Mapping

import httpx
from msgspec import Struct

from service.errors import FundsError

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "funds"}
_REASON_LENGTH_MAX = 200


class Bounds(Struct, frozen=True, kw_only=True):
    """How many bytes of an answer are read, and for how long all of it may take; which statuses it may have. Anything
    else raises ``fault``, whose message calls the one that was asked ``who``, and what it has ``whose``.
    """

    bytes_max: int
    seconds_max: float
    statuses: Collection[int]
    fault: type[FundsError]
    who: str = "it"
    whose: str = "its"


class BoundedClient:
    """Makes connections to one that is asked with ``headers``, and reads answers within ``bounds``."""

    def __init__(self, bounds: Bounds, headers: Mapping[str, str]) -> None:
        self._bounds = bounds
        self._headers = {**_HEADERS, **headers}
        self._tls = httpx.create_ssl_context()  # takes long to make

    def opened(self) -> httpx.AsyncClient:
        """Return what asks on one connection, as long as its context lasts."""
        return httpx.AsyncClient(verify=self._tls, timeout=self._bounds.seconds_max, headers=self._headers)

    async def answer(
        self, http: httpx.AsyncClient, method: str, url: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Return the status and the content of the answer. Raises the ``fault`` of the bounds."""
        bounds = self._bounds
        content = bytearray()
        try:
            async with asyncio.timeout(bounds.seconds_max), http.stream(method, url, content=body) as response:
                if response.status_code not in bounds.statuses:
                    raise bounds.fault(f"{bounds.who} answered with status {response.status_code}")
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > bounds.bytes_max:
                        raise bounds.fault(f"{bounds.whose} answer has more than {bounds.bytes_max} bytes")
        except (TimeoutError, httpx.TimeoutException):
            raise bounds.fault(f"{bounds.who} did not answer within {bounds.seconds_max:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise bounds.fault(f"{type(error).__name__}: {error}"[:_REASON_LENGTH_MAX]) from error
        return response.status_code, bytes(content)
