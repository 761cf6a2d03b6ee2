"""Asking a witness over HTTP (https://c2sp.org/tlog-witness). Its answer may be anything, and take any time: size and
time are bounded, redirects are not followed, and what is compressed is not unpacked.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
from msgspec import Struct

from service.errors import WitnessError
from service.proofs.lines import decode_text

ANSWER_BYTES_MAX = 64 * 1024
"""A cosignature has less than 500 bytes; a witness may have many keys."""

_OF_THE_LOG = frozenset({200, 400, 403, 404, 409, 422})
_HEADERS = {"Accept-Encoding": "identity", "Content-Type": "text/plain; charset=utf-8", "User-Agent": "funds"}
_REASON_LENGTH_MAX = 200


class Answer(Struct, frozen=True):
    """What a witness says of the log that it was asked about."""

    status: int
    text: str


Ask = Callable[[str], Awaitable[Answer]]
"""Sends a witness a request to cosign. Raises WitnessError, and MalformedTextError for an answer that is no text."""


class WitnessClient:
    """Asks the witness below ``url``; each request takes ``seconds_max`` at most, with all of its answer."""

    def __init__(self, url: str, *, seconds_max: float) -> None:
        self._url = f"{url}/add-checkpoint"
        self._seconds_max = seconds_max
        self._tls = httpx.create_ssl_context()  # takes long to make

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Ask]:
        """Give what asks, on one connection as long as the context lasts."""
        async with httpx.AsyncClient(verify=self._tls, timeout=self._seconds_max, headers=_HEADERS) as http:
            yield lambda body: self._ask(http, body)

    async def _ask(self, http: httpx.AsyncClient, body: str) -> Answer:
        content = bytearray()
        try:
            async with (
                asyncio.timeout(self._seconds_max),
                http.stream("POST", self._url, content=body.encode()) as response,
            ):
                if response.status_code not in _OF_THE_LOG:
                    raise WitnessError(f"it answered with status {response.status_code}")
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > ANSWER_BYTES_MAX:
                        raise WitnessError(f"its answer has more than {ANSWER_BYTES_MAX} bytes")
        except (TimeoutError, httpx.TimeoutException):
            raise WitnessError(f"it did not answer within {self._seconds_max:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise WitnessError(f"{type(error).__name__}: {error}"[:_REASON_LENGTH_MAX]) from error
        return Answer(response.status_code, decode_text(bytes(content), "answer"))
