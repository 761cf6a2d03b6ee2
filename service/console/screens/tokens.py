"""Tokens, and who changed what of the installation: as its history tells it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Template
from msgspec import Struct

from service.console.events import kind, told
from service.console.visits import Visit
from service.wire.events import EventPage, TokenCreatedEvent, TokenRevokedEvent

_PAGE = 1_000
_PAGES_MAX = 10
_EVENTS_SHOWN = 100


class KnownToken(Struct):
    """A token, by what its history says of it."""

    id: UUID
    client: str
    scopes: list[str]
    ledgers: list[str] | None
    debits: list[str] | None
    made_at: datetime
    made_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None = None
    revoked_by: str | None = None


@get("/tokens")
async def show_tokens(visit: NamedDependency[Visit]) -> Template:
    """Show every token, and the newest entries of the installation's own history."""
    events: list[Any] = []
    after, complete = None, False
    for _ in range(_PAGES_MAX):
        page = await visit.api.read(EventPage, "events", after=after, limit=_PAGE)
        events += page.items
        after = page.last_id
        complete = len(page.items) < _PAGE
        if complete:
            break
    tokens = _tokens(events)
    return visit.page(
        "tokens.html",
        section="tokens",
        tokens=sorted(tokens.values(), key=lambda token: token.made_at, reverse=True),
        events=[(event, kind(event), told(event)) for event in events[: -_EVENTS_SHOWN - 1 : -1]],
        complete=complete,
    )


def _tokens(events: list[Any]) -> dict[UUID, KnownToken]:
    tokens: dict[UUID, KnownToken] = {}
    for event in events:
        match event:
            case TokenCreatedEvent(subject=UUID() as token_id, data=data):
                debits = [*map(str, data.debit_accounts or ()), *(data.debit_codes or ())]
                tokens[token_id] = KnownToken(
                    token_id,
                    data.client,
                    data.scopes,
                    data.ledgers,
                    None if data.debit_accounts is None and data.debit_codes is None else debits,
                    event.time,
                    data.by,
                    data.expires_at,
                )
            case TokenRevokedEvent(subject=UUID() as token_id, data=data) if token_id in tokens:
                tokens[token_id].revoked_at, tokens[token_id].revoked_by = event.time, data.by
    return tokens
