"""Transfers: a search, and one with both of its sides and its receipt."""

from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from service.console.pages import download
from service.console.receipts import verified
from service.console.screens.declined import begin_of_day
from service.console.visits import Visit
from service.errors import ApiRefusedError
from service.wire.log import ReceiptView
from service.wire.pages import Page
from service.wire.views import HoldView, TransferView

_PAGE = 50
_RELATED = 20


@get("/ledgers/{ledger_name:str}/transfers")
async def show_transfers(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    account_id: FromQuery[str] = "",
    reference_prefix: FromQuery[str] = "",
    description: FromQuery[str] = "",
    client: FromQuery[str] = "",
    amount_min: FromQuery[str] = "",
    amount_max: FromQuery[str] = "",
    currency: FromQuery[str] = "",
    effective_from: FromQuery[str] = "",
    effective_to: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> Template:
    """List transfers, newest first, or those that are searched for."""
    query = {
        "account_id": account_id,
        "reference_prefix": reference_prefix,
        "description": description,
        "client": client,
        "amount_min": amount_min,
        "amount_max": amount_max,
        "currency": currency,
        "effective_from": effective_from,
        "effective_to": effective_to,
    }
    asked = query | {
        "effective_from": begin_of_day(effective_from),
        "effective_to": begin_of_day(effective_to),
    }
    wrong, transfers = "", Page[TransferView]([], None)
    try:
        transfers = await visit.api.read(
            Page[TransferView], "ledgers", ledger_name, "transfers", limit=_PAGE, cursor=cursor, **asked
        )
    except ApiRefusedError as error:
        if error.code != "malformed_request":
            raise
        wrong = error.detail
    return visit.page(
        "transfers.html",
        status=400 if wrong else 200,
        ledger=ledger_name,
        section="transfers",
        transfers=transfers,
        query=query,
        cursor=cursor,
        wrong=wrong,
    )


@get("/ledgers/{ledger_name:str}/transfers/{transfer_id:uuid}")
async def show_transfer(
    visit: NamedDependency[Visit], ledger_name: FromPath[str], transfer_id: FromPath[UUID]
) -> Template:
    """Show a transfer, what it belongs to, and whether its receipt proves it."""
    api, path = visit.api, ("ledgers", ledger_name, "transfers")
    transfer = await api.read(TransferView, *path, transfer_id, expand="accounts")
    reversals = await api.read(Page[TransferView], *path, reverses_id=transfer_id, limit=_RELATED)
    hold = None
    if transfer.hold_id is not None:
        hold = await api.read(HoldView, "ledgers", ledger_name, "holds", transfer.hold_id)
    receipt = await _receipt(visit, ledger_name, transfer_id)
    proof = None if receipt is None else await verified(visit, ledger_name, receipt)
    return visit.page(
        "transfer.html",
        ledger=ledger_name,
        section="transfers",
        transfer=transfer,
        reversals=reversals.items,
        reversed_amount=sum(one.amount for one in reversals.items),
        hold=hold,
        receipt=receipt,
        proof=proof,
    )


@get("/ledgers/{ledger_name:str}/transfers/{transfer_id:uuid}/receipt")
async def get_receipt_file(
    visit: NamedDependency[Visit], ledger_name: FromPath[str], transfer_id: FromPath[UUID]
) -> Response[Any]:
    """Return the receipt as a file, which `funds verify-receipt` verifies without the service."""
    answer = await visit.api.answer("GET", ("ledgers", ledger_name, "transfers", transfer_id, "receipt"), {})
    return download(answer.body, f"receipt-{transfer_id}.json", "application/json")


async def _receipt(visit: Visit, ledger_name: str, transfer_id: UUID) -> ReceiptView | None:
    """Return the receipt of a transfer; None until it is sealed."""
    try:
        return await visit.api.read(ReceiptView, "ledgers", ledger_name, "transfers", transfer_id, "receipt")
    except ApiRefusedError as error:
        if error.code != "not_sealed":
            raise
        return None
