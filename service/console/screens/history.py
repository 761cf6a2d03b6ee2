"""The history of a ledger: the newest entries, live; or all of them, from any day on."""

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from service.console.events import kind, told
from service.console.screens.declined import begin_of_day
from service.console.visits import Visit
from service.wire.events import EventPage
from service.wire.pages import Page
from service.wire.times import read_time
from service.wire.views import HoldView, TransferView

_NEWEST = 50
_PAGE = 100
_READ_MAX = 1_000
_RANDOM_BITS = 80


@get("/ledgers/{ledger_name:str}/history")
async def show_history(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    since: FromQuery[str] = "",
    after: FromQuery[str] = "",
    live: FromQuery[bool] = True,  # noqa: FBT002
) -> Template:
    """Show the newest entries; or those from a day, or behind an entry, in their order."""
    path = ("ledgers", ledger_name, "events")
    newest = not since and not after
    if newest:
        begin = await _before_newest(visit, ledger_name)
        found = await visit.api.read(EventPage, *path, after=begin, limit=_READ_MAX)
        events: list[Any] = found.items[: -_PAGE - 1 : -1]
    else:
        start = after or _identifier_of(read_time(begin_of_day(since)))
        found = await visit.api.read(EventPage, *path, after=start, limit=_PAGE)
        events = list(found.items)
    return visit.page(
        "history.html",
        ledger=ledger_name,
        section="history",
        events=[(event, kind(event), told(event)) for event in events],
        newest=newest,
        live=newest and live,
        since=since,
        next_after=None if newest or len(found.items) < _PAGE else found.last_id,
    )


async def _before_newest(visit: Visit, ledger_name: str) -> UUID | None:
    """Return an entry with some newer ones behind it; None where the whole history is that short."""
    api, path = visit.api, ("ledgers", ledger_name)
    transfers = (await api.read(Page[TransferView], *path, "transfers", limit=_NEWEST)).items
    holds = (await api.read(Page[HoldView], *path, "holds", limit=_NEWEST)).items
    return max((found[-1].id for found in (transfers, holds) if len(found) == _NEWEST), default=None)


def _identifier_of(time: datetime) -> UUID:
    """Return the least identifier of ``time``: those of entries begin with their milliseconds."""
    return UUID(int=int(time.timestamp() * 1000) << _RANDOM_BITS)
