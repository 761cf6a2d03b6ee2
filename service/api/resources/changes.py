"""What changed in a period that was looked at before."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from service.access.principal import Principal
from service.api.context import LedgerRef, Services
from service.api.http.pagination import LIMIT_DEFAULT, Cursor, Limit, Order, decode_cursor, page_response
from service.api.http.problems import responses
from service.api.resources.views import transfer_view
from service.domain.rejections import AccountNotFound
from service.domain.transfers import Transfer
from service.errors import ProblemError
from service.storage.database import Session
from service.storage.lists import ListOrder, ScanEnd, Slices
from service.storage.repositories import Repositories
from service.storage.transactions import Reader
from service.wire.errors import MalformedError
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid
from service.wire.times import Time
from service.wire.views import TransferView

_AsOf = Annotated[
    Time, QueryParameter(description="The last value date that was looked at: what is dated later changes nothing.")
]
_KnownFrom = Annotated[
    Time, QueryParameter(description="`known_at` of the earlier look: what was recorded by then was seen.")
]
_KnownTo = Annotated[
    Time | None,
    QueryParameter(description="`known_at` of the later look, inclusive; without it, all that was recorded since."),
]


@get(
    "/v1/ledgers/{ledger_name:str}/changes",
    opt={"scope": "read"},
    operation_id="listChanges",
    tags=["Balances"],
    responses=responses(CursorInvalid),
)
async def list_changes(
    request: Request[Principal, Any, Any],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    as_of: _AsOf,
    known_from: _KnownFrom,
    known_to: _KnownTo = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    order: Order = "desc",
) -> Response[Page[TransferView]]:
    """List what changes a period that was looked at before: transfers dated `as_of` or before that were recorded after
    `known_from`, by when they were recorded. A page looks through 1,000 transfers at most and may have fewer items than
    there are, even none: follow `next_cursor` until it is null.
    """
    after = _after(request, order, cursor, known_from, known_to)

    def rows(session: Session) -> Slices[Transfer | ScanEnd]:
        return Repositories(session).changes.page_of_ledger(
            ledger.id,
            as_of=as_of,
            known_from=known_from,
            known_to=known_to,
            limit=limit + 1,
            order=order,
            after=after,
        )

    return await page_response(
        request,
        reader,
        rows,
        order=order,
        limit=limit,
        view=lambda row: transfer_view(ledger.name, row),
        position=lambda row: row.id,
        appended=known_to is None,
    )


@get(
    "/v1/ledgers/{ledger_name:str}/accounts/{account_id:uuid}/changes",
    opt={"scope": "read"},
    operation_id="listAccountChanges",
    tags=["Balances"],
    responses=responses(AccountNotFound, CursorInvalid),
)
async def list_account_changes(
    request: Request[Principal, Any, Any],
    services: NamedDependency[Services],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    account_id: FromPath[UUID],
    as_of: _AsOf,
    known_from: _KnownFrom,
    known_to: _KnownTo = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    order: Order = "desc",
) -> Response[Page[TransferView]]:
    """List what changes a period of an account that was looked at before: they add up to the difference between its
    balances as of `as_of`, as known at `known_from` and at `known_to`. Pages are those of the ledger's list.
    """
    after = _after(request, order, cursor, known_from, known_to)
    account, _ = await services.accounts.get(ledger.id, account_id)
    if account is None:
        raise ProblemError(AccountNotFound(account_id))

    def rows(session: Session) -> Slices[Transfer | ScanEnd]:
        return Repositories(session).changes.page_of_account(
            ledger.id,
            account_id,
            as_of=as_of,
            known_from=known_from,
            known_to=known_to,
            limit=limit + 1,
            order=order,
            after=after,
        )

    return await page_response(
        request,
        reader,
        rows,
        order=order,
        limit=limit,
        view=lambda row: transfer_view(ledger.name, row),
        position=lambda row: row.id,
        appended=known_to is None,
    )


def _after(
    request: Request[Principal, Any, Any],
    order: ListOrder,
    cursor: str | None,
    known_from: datetime,
    known_to: datetime | None,
) -> UUID | None:
    """Return the position of the cursor. Raises MalformedError for times in the wrong order."""
    if known_to is not None and known_to < known_from:
        raise MalformedError("/query/known_to", "this lies before known_from; exchange them")
    return decode_cursor(request, order, cursor, UUID)
