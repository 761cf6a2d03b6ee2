"""What a call sends and what comes of it, as values: the border between deciding and the thin shells that send."""

from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import quote

from msgspec import Struct

T = TypeVar("T")

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""Beyond this nothing of an answer is read. The largest that the service makes have about 20 MB."""


class Request(Struct, frozen=True, kw_only=True):
    """One request; ``path`` begins behind the service's URL and has its query."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """An answer that came whole."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Lost(Struct, frozen=True, kw_only=True):
    """No answer came, or not a whole one. What was not ``sent`` cannot have been applied."""

    cause: Exception
    sent: bool


Event = Answer | Lost


class Send(Struct, frozen=True, kw_only=True):
    """What a shell has to do: send ``request`` and return the event, within ``seconds``."""

    request: Request
    seconds: float


class Wait(Struct, frozen=True, kw_only=True):
    """What a shell has to do: nothing, for ``seconds``."""

    seconds: float


Step = Send | Wait
Course = Generator[Step, Event | None, T]
"""A call from its first request to its result: yields what to do, is sent what came of it, and returns or raises what
the caller gets.
"""


def segment(text: str) -> str:
    """Return ``text`` as one segment of a path, also where it has a slash."""
    return quote(text, safe="")


def retry_after(answer: Answer, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float:
    """Return how many seconds an answer asks to wait (RFC 9110, section 10.2.3), 0 where it does not say."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, ((time if time.tzinfo else time.replace(tzinfo=UTC)) - now()).total_seconds())
