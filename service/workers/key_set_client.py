"""Reading the key set of an issuer over HTTP."""

from service.errors import KeySetError
from service.workers.bounded_answers import BoundedClient, Bounds

FETCH_SECONDS_MAX = 10.0
"""How long one reading may take, with all of its answer."""

_HEADERS = {"Accept": "application/jwk-set+json, application/json"}


class KeySetClient:
    """Reads the key set at ``url``, which has ``bytes_max`` at most, within ``seconds_max``."""

    def __init__(self, url: str, *, bytes_max: int, seconds_max: float = FETCH_SECONDS_MAX) -> None:
        self._url = url
        bounds = Bounds(
            bytes_max=bytes_max,
            seconds_max=seconds_max,
            statuses={200},
            fault=KeySetError,
            who="the issuer",
            whose="the issuer's",
        )
        self._client = BoundedClient(bounds, _HEADERS)

    async def fetch(self) -> bytes:
        """Return the key set as it is published. Raises KeySetError."""
        async with self._client.opened() as http:
            _, content = await self._client.answer(http, "GET", self._url)
        return content
