"""The ledgers of whoever is signed in, and one of them at a glance."""

from collections import Counter
from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from service.console.activity import activity
from service.console.problems import code_of
from service.console.visits import Visit
from service.errors import ApiRefusedError
from service.wire.decisions import DecisionView
from service.wire.integrity import IntegrityView
from service.wire.ledgers import LedgerView
from service.wire.overview import OverviewView
from service.wire.pages import Page
from service.wire.views import TransferView

_PAGE = 50
_ACTIVITY = 1_000
"""Of how many of the latest transfers the activity is drawn."""
_DECLINES = 200
"""Among how many of the latest declined requests the reasons are counted."""


@get("/")
async def show_ledgers(visit: NamedDependency[Visit], cursor: FromQuery[str | None] = None) -> Template:
    """List the ledgers that the token is for."""
    ledgers = await visit.api.read(Page[LedgerView], "ledgers", limit=_PAGE, cursor=cursor)
    return visit.page("ledgers.html", ledgers=ledgers, cursor=cursor)


@get("/ledgers/{ledger_name:str}")
async def show_ledger(visit: NamedDependency[Visit], ledger_name: FromPath[str]) -> Template:
    """Show a ledger at a glance."""
    api, path = visit.api, ("ledgers", ledger_name)
    overview = await api.read(OverviewView, *path, "overview")
    integrity = await api.read(IntegrityView, *path, "integrity")
    declined = await api.read(Page[DecisionView], *path, "decisions", limit=_DECLINES)
    latest = await api.read(Page[TransferView], *path, "transfers", limit=_ACTIVITY)
    reasons = Counter(code_of(one.problem) for one in declined.items if one.problem is not None)
    return visit.page(
        "ledger.html",
        ledger=ledger_name,
        section="",
        overview=overview,
        integrity=integrity,
        checkpoint=await latest_checkpoint(visit, ledger_name),
        declined=declined,
        drawn=len(latest.items),
        names={one.id: (one.reference, one.name) for one in overview.busiest_accounts},
        charts=activity(latest.items),
        reasons=reasons.most_common(),
        all_clients=visit.may("audit"),
    )


async def latest_checkpoint(visit: Visit, ledger_name: str) -> dict[str, Any] | None:
    """Return size and root of the latest checkpoint of a ledger's log; None before there is one."""
    try:
        note = await visit.api.text("ledgers", ledger_name, "log", "checkpoint")
    except ApiRefusedError as error:
        if error.code != "checkpoint_not_found":
            raise
        return None
    origin, size, root, *_ = note.split("\n")
    return {"origin": origin, "size": int(size), "root": root, "note": note}
