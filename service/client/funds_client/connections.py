"""What both clients have in common: what they are made with, and what they make of httpx."""

import random
import time
from collections.abc import Callable

import httpx

from .courses import Conditions
from .exchange import ANSWER_BYTES_MAX, Answer, Lost, Send
from .ledger_intents import Intents
from .ledger_reads import Reads
from .settings import ClientSettings, RetryBudget

Token = str | Callable[[], str]
"""A bearer token, or what returns the one that is valid now."""

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""There was no connection, so nothing of the request can have arrived."""


class Calls:
    """The calls of one client to one ledger of the service at ``url``."""

    def __init__(
        self, url: str, *, token: Token | None, ledger: str, log_key: str | None, settings: ClientSettings
    ) -> None:
        self.intents = Intents(ledger)
        """Makes intents, to be kept before they are resumed."""
        self.reads = Reads(ledger, log_key)
        self.conditions = Conditions(
            settings=settings, budget=RetryBudget(settings), clock=time.monotonic, chance=random.random
        )
        self._url = url.rstrip("/")
        self._token = token

    def url_of(self, step: Send) -> str:
        """Return where a request goes."""
        return self._url + step.request.path

    def headers_of(self, step: Send) -> dict[str, str]:
        """Return the headers of a request, with the token that is valid now."""
        headers = dict(step.request.headers)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token if isinstance(self._token, str) else self._token()}"
        return headers

    def timeout_of(self, step: Send) -> httpx.Timeout:
        """Return how long httpx may wait at each point of a request. It gives up connecting before the time of the
        request is over: then it is certain that nothing was sent.
        """
        connect = min(step.seconds / 2, self.conditions.settings.connect_seconds)
        return httpx.Timeout(step.seconds, connect=connect, pool=connect)


def answered(response: httpx.Response, body: bytearray) -> Answer:
    """Return what has come."""
    return Answer(status=response.status_code, body=bytes(body), headers=dict(response.headers))


def check_size(body: bytearray) -> None:
    """Raise ValueError where an answer is too large to be the service's."""
    if len(body) > ANSWER_BYTES_MAX:
        raise ValueError(f"the answer has more than {ANSWER_BYTES_MAX} bytes")


def lost(cause: Exception) -> Lost:
    """Return what an exception while sending or reading means."""
    return Lost(cause=cause, sent=not isinstance(cause, NOT_SENT))
