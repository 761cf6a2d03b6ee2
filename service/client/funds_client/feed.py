"""Following the feed of a ledger: from a place that the caller keeps, over outages and restarts."""

from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from typing import Any, NoReturn, Protocol
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from .courses import Conditions
from .errors import AnswerLostError, FundsError, ProblemError, UnreachableError
from .exchange import Answer, Course, Event, Step, Wait
from .wire.events import AnyEvent


class OtherEvent(Struct, frozen=True, kw_only=True):
    """An event of a type that this version of the client does not know; ``document`` is all of it."""

    id: UUID
    time: datetime
    type: str
    document: dict[str, Any]


FeedEvent = AnyEvent | OtherEvent


class FeedPage(Struct, frozen=True):
    """The next events of a ledger, and where to go on."""

    items: list[FeedEvent]
    last_id: UUID | None


class Handle(Struct, frozen=True, kw_only=True):
    """What a shell has to do: have the consumer handle ``events``, and then keep ``place``."""

    events: Sequence[FeedEvent]
    place: UUID


class Consumer(Protocol):
    """Whoever follows a feed.

    Events are handled at least once: who stops between ``handle`` and ``store`` is given them again. To have each
    handled exactly once, let ``handle`` keep the id of its last event in the same transaction as what it does, ``load``
    read it there, and ``store`` do nothing.
    """

    async def load(self) -> UUID | None:
        """Return the place that was stored last; None at the very beginning."""

    async def handle(self, events: Sequence[FeedEvent]) -> None:
        """Do what is to be done about ``events``, which are in order."""

    async def store(self, place: UUID) -> None:
        """Keep ``place``: everything up to it has been handled."""


class BlockingConsumer(Protocol):
    """A Consumer without async."""

    def load(self) -> UUID | None:
        """Return the place that was stored last; None at the very beginning."""

    def handle(self, events: Sequence[FeedEvent]) -> None:
        """Do what is to be done about ``events``, which are in order."""

    def store(self, place: UUID) -> None:
        """Keep ``place``: everything up to it has been handled."""


def following(
    place: UUID | None, next_page: Callable[[UUID | None], Course[FeedPage]], conditions: Conditions
) -> Generator[Step | Handle, Event | None, NoReturn]:
    """Follow a feed from behind ``place``, for ever, and wait outages out. Raises FundsError for what does not pass."""
    failures = 0
    while True:
        try:
            page = yield from next_page(place)
        except FundsError as error:
            if not _passes(error):
                raise
            yield Wait(seconds=conditions.settings.backoff(failures, conditions.chance()))
            failures += 1
            continue
        failures = 0
        if page.items:
            place = page.items[-1].id
            yield Handle(events=page.items, place=place)


def _passes(error: FundsError) -> bool:
    if isinstance(error, ProblemError):
        return error.problem.retryable or error.problem.outcome == "unknown"
    return isinstance(error, AnswerLostError | UnreachableError)


class _Page(Struct, frozen=True):
    items: list[Raw]
    last_id: UUID | None


class _Typed(Struct, frozen=True):
    id: UUID
    time: datetime
    type: str


_page = msgspec.json.Decoder(_Page)
_event: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_typed = msgspec.json.Decoder(_Typed)
_document: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


def read_feed_page(answer: Answer) -> FeedPage:
    """Return the events of an answer. Raises msgspec.MsgspecError."""
    page = _page.decode(answer.body)
    return FeedPage([_read_event(item) for item in page.items], page.last_id)


def _read_event(content: Raw) -> FeedEvent:
    try:
        return _event.decode(content)
    except msgspec.ValidationError:
        typed = _typed.decode(content)
        return OtherEvent(id=typed.id, time=typed.time, type=typed.type, document=_document.decode(content))
