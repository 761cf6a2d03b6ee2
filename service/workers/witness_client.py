"""Asking a witness over HTTP (https://c2sp.org/tlog-witness)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
from msgspec import Struct

from service.errors import WitnessError
from service.proofs.lines import decode_text
from service.workers.bounded_answers import BoundedClient, Bounds

ANSWER_BYTES_MAX = 64 * 1024
"""A cosignature has less than 500 bytes; a witness may have many keys."""

_OF_THE_LOG = frozenset({200, 400, 403, 404, 409, 422})
_HEADERS = {"Content-Type": "text/plain; charset=utf-8"}


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
        bounds = Bounds(bytes_max=ANSWER_BYTES_MAX, seconds_max=seconds_max, statuses=_OF_THE_LOG, fault=WitnessError)
        self._client = BoundedClient(bounds, _HEADERS)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Ask]:
        """Give what asks, on one connection as long as the context lasts."""
        async with self._client.opened() as http:
            yield lambda body: self._ask(http, body)

    async def _ask(self, http: httpx.AsyncClient, body: str) -> Answer:
        status, content = await self._client.answer(http, "POST", self._url, body.encode())
        return Answer(status, decode_text(content, "answer"))
