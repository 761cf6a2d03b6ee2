"""The feed: what happens in a ledger, in order, for those who follow it."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream
from msgspec import Raw, Struct

from service.access.principal import Principal
from service.api.context import LedgerRef, Services, as_of_header
from service.api.http.leaving import unless_left
from service.api.http.pagination import LIMIT_DEFAULT, Limit
from service.api.http.problems import responses
from service.api.http.streams import prefixed
from service.api.resources.installation import FOR_ADMINS, FOR_READERS, OF_INSTALLATION, operation_id
from service.audit.feed import Feed, Found, Place
from service.errors import UnavailableError
from service.storage.repositories.history import ALL
from service.wire.errors import MalformedError
from service.wire.events import EventPage

WAIT_SECONDS_MAX = 30
_PAUSE_SECONDS_MAX = 15.0
"""A stream in which nothing happens says so this often, lest a proxy take it for dead."""
_RECONNECT_MS = 1_000
"""How long a client waits after the end of a stream before it asks for the next one."""
_BEGINNING = f"retry: {_RECONNECT_MS}\n\n".encode()
_PAUSE = b": nothing happened\n\n"

After = Annotated[
    UUID | None, QueryParameter(description="The last event that is known; without it, from the first on.")
]
WaitSeconds = Annotated[
    int,
    QueryParameter(
        ge=0, le=WAIT_SECONDS_MAX, description="Where there are no events yet, how long to wait for the next ones."
    ),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", description="The last event of a stream that ended; it goes before `after`."),
]

_STREAM = re.compile(r"text/event-stream(?!.*;\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$))\s*(?:;.*)?", re.IGNORECASE)
"""An item of Accept that asks for a stream, unless its weight is 0 (RFC 9110, section 12.4.2)."""


class _Typed(Struct):
    type: str


_typed = msgspec.json.Decoder(_Typed)


class EventController(Controller):
    """The feed of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/events"
    tags = ("Events",)
    opt = FOR_READERS

    @get(opt={"event_stream": True}, operation_id=operation_id("list{}Events"), responses=responses())
    async def list_events(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        after: After = None,
        limit: Limit = LIMIT_DEFAULT,
        wait_seconds: WaitSeconds = 0,
        last_event_id: LastEventId = None,
    ) -> Response[EventPage]:
        """Follow a ledger, or the installation itself (its ledgers and tokens, for a token of all ledgers): everything
        that happened in it after the event `after`, in the order of commits. Nothing ever appears before an event that
        was seen. In the place of what another client was refused, a token without the scope `audit` is shown
        `funds.entry.withheld`. With `Accept: text/event-stream`, the answer is a stream of Server-Sent Events, which
        goes on with what comes.
        """
        start = _start(after, last_event_id)
        user = request.user
        place = Place(user.client, ledger.id, ledger.source, start or ALL, limit, user.not_applied_of)
        if _wants_stream(request):
            return await _stream(services, place)
        return await _page(request, services, place, start, wait_seconds)


class InstallationEventController(EventController):
    """The feed of the installation itself; only for a token of all ledgers."""

    path = "/v1/events"
    opt = FOR_ADMINS
    dependencies = OF_INSTALLATION


def _start(after: UUID | None, last_event_id: str | None) -> UUID | None:
    """Return the entry that the answer begins after. Raises MalformedError for a Last-Event-ID that is none."""
    if last_event_id is None:
        return after
    try:
        return msgspec.convert(last_event_id, UUID)
    except msgspec.ValidationError:
        raise MalformedError("/header/Last-Event-ID", "this must be the id of an event") from None


async def _stream(services: Services, place: Place) -> Response[EventPage]:
    stream = _events(services.feed, place, services.settings.event_stream_seconds_max)
    beginning = await anext(stream)  # before the answer begins: it may be that too many follow
    return cast("Response[EventPage]", Stream(prefixed(beginning, stream), media_type="text/event-stream"))


async def _page(
    request: Request[Principal, Any, Any], services: Services, place: Place, start: UUID | None, wait_seconds: int
) -> Response[EventPage]:
    seconds = min(wait_seconds, services.settings.event_wait_seconds_max)
    found = await unless_left(request, services.feed.next_page(place, seconds))
    if found is None or not found.entries:
        return Response(EventPage([], start), headers=as_of_header(None if found is None else found.as_of))
    items: list[Any] = [Raw(entry.text.encode()) for entry in found.entries]
    return Response(EventPage(items, found.entries[-1].id), headers=as_of_header(found.as_of))


def _wants_stream(request: Request[Principal, Any, Any]) -> bool:
    accepted = request.headers.get("accept", "").split(",")
    return any(_STREAM.fullmatch(media.strip()) for media in accepted)


async def _events(feed: Feed, place: Place, seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield the beginning of a stream and then its events, for ``seconds``. Raises NoSlotError at the beginning.

    When the service cannot read on, the stream ends: the client connects again and says where it was.
    """
    async with aclosing(feed.pages(place, seconds=seconds, pause_seconds_max=_PAUSE_SECONDS_MAX)) as pages:
        yield _BEGINNING + _encoded(await anext(pages))
        with suppress(UnavailableError):
            async for found in pages:
                yield _encoded(found) if found.entries else _PAUSE


def _encoded(found: Found) -> bytes:
    """Return the entries as Server-Sent Events (WHATWG HTML, section 9.2)."""
    return "".join(
        f"id: {entry.id}\nevent: {_typed.decode(entry.text).type}\ndata: {entry.text}\n\n" for entry in found.entries
    ).encode()
