"""Finding anything in a ledger by what somebody has of it: an id, a reference, a key, an amount, a client."""

import re
from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from service.console.pages import console_url, redirect
from service.console.visits import Visit
from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.errors import ApiRefusedError, EntryError
from service.journals.amounts import minor_units
from service.wire.keys import KeyView
from service.wire.ledgers import LedgerView
from service.wire.pages import Page
from service.wire.views import AccountView, TransferView

_SHOWN = 20
_KINDS = ("accounts", "transfers", "holds")
_MONEY = re.compile(r"(?:([A-Za-z]{3})\s+)?([0-9][0-9,' ]*(?:\.[0-9]+)?)(?:\s+([A-Za-z]{3}))?")


class Found(Struct):
    """What was found, each kind by another way to look for it."""

    accounts: list[AccountView] = []
    transfers: list[TransferView] = []
    key: KeyView | None = None
    amount: int | None = None
    currency: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not self.accounts and not self.transfers and self.key is None


@get("/ledgers/{ledger_name:str}/find")
async def find(visit: NamedDependency[Visit], ledger_name: FromPath[str], q: FromQuery[str] = "") -> Response[Any]:
    """Look for ``q`` in every way in which it can be meant. The id of a thing leads to its page."""
    wanted = q.strip()
    await visit.api.read(LedgerView, "ledgers", ledger_name)
    identifier = _identifier(wanted)
    if identifier is not None:
        for kind in _KINDS:
            if await _is_there(visit, ledger_name, kind, identifier):
                return redirect(console_url(visit.request, "ledgers", ledger_name, kind, identifier))
    found = Found()
    if wanted:
        await _look(visit, ledger_name, wanted, found)
    return visit.page("find.html", ledger=ledger_name, q=wanted, found=found)


async def _look(visit: Visit, ledger_name: str, wanted: str, found: Found) -> None:
    api, path = visit.api, ("ledgers", ledger_name)
    try:
        found.accounts = (await api.read(Page[AccountView], *path, "accounts", reference=wanted, limit=_SHOWN)).items
        transfers = await api.read(Page[TransferView], *path, "transfers", reference_prefix=wanted, limit=_SHOWN)
        found.transfers = transfers.items
    except ApiRefusedError as error:  # it can be no reference
        if error.code != "malformed_request":
            raise
    found.key = await _key(visit, ledger_name, wanted)
    amount = _amount(wanted)
    if amount is not None:
        await _look_for_amount(visit, ledger_name, *amount, found)


async def _look_for_amount(visit: Visit, ledger_name: str, amount: int, currency: str, found: Found) -> None:
    """Look among the latest transfers: an amount alone is looked for in no whole ledger."""
    found.amount, found.currency = amount, currency
    latest = await visit.api.read(Page[TransferView], "ledgers", ledger_name, "transfers", limit=1000)
    same = [one for one in latest.items if one.amount == amount and currency in {"", one.currency}]
    known = {one.id for one in found.transfers}
    found.transfers = [*found.transfers, *(one for one in same if one.id not in known)][:_SHOWN]


async def _key(visit: Visit, ledger_name: str, wanted: str) -> KeyView | None:
    """Return what stands under a key of the own client's; None for one that was never seen."""
    try:
        key = await visit.api.read(KeyView, "ledgers", ledger_name, "idempotency-keys", wanted)
    except ApiRefusedError:
        return None
    return None if key.outcome == "never_seen" else key


async def _is_there(visit: Visit, ledger_name: str, kind: str, identifier: UUID) -> bool:
    try:
        await visit.api.answer("GET", ("ledgers", ledger_name, kind, identifier), {})
    except ApiRefusedError as error:
        if error.status != 404:  # noqa: PLR2004
            raise
        return False
    return True


def _identifier(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _amount(text: str) -> tuple[int, str] | None:
    """Return the amount that ``text`` writes in major units of a currency that it names; in minor units without one."""
    written = _MONEY.fullmatch(text)
    if written is None:
        return None
    currency = (written[1] or written[3] or "").upper()
    if currency not in MINOR_UNIT_EXPONENTS:
        return (int(written[2]), "") if written[2].isdigit() and not currency else None
    try:
        return minor_units(written[2], currency), currency
    except EntryError:
        return None
