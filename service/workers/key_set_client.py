"""Reading the key set of an issuer over HTTP. The answer may be anything, and take any time: size and time are bounded,
redirects are not followed, and what is compressed is not unpacked.
"""

import asyncio

import httpx

from service.errors import KeySetError

FETCH_SECONDS_MAX = 10.0
"""How long one reading may take, with all of its answer."""

_HEADERS = {
    "Accept": "application/jwk-set+json, application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "funds",
}
_REASON_LENGTH_MAX = 200


class KeySetClient:
    """Reads the key set at ``url``, which has ``bytes_max`` at most, within ``seconds_max``."""

    def __init__(self, url: str, *, bytes_max: int, seconds_max: float = FETCH_SECONDS_MAX) -> None:
        self._url = url
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._tls = httpx.create_ssl_context()  # takes long to make

    async def fetch(self) -> bytes:
        """Return the key set as it is published. Raises KeySetError."""
        content = bytearray()
        try:
            async with (
                asyncio.timeout(self._seconds_max),
                httpx.AsyncClient(verify=self._tls, timeout=self._seconds_max, headers=_HEADERS) as http,
                http.stream("GET", self._url) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise KeySetError(f"the issuer answered with status {response.status_code}")
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > self._bytes_max:
                        raise KeySetError(f"the issuer's answer has more than {self._bytes_max} bytes")
        except (TimeoutError, httpx.TimeoutException):
            raise KeySetError(f"the issuer did not answer within {self._seconds_max:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise KeySetError(f"{type(error).__name__}: {error}"[:_REASON_LENGTH_MAX]) from error
        return bytes(content)
