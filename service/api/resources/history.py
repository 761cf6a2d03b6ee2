"""The history of one account: who opened it, and who changed what of it when."""

from typing import Any, cast
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Raw

from service.access.principal import Principal
from service.api.context import LedgerRef, Services
from service.api.http.pagination import LIMIT_DEFAULT, Cursor, Limit, Order, decode_cursor, page_response
from service.api.http.problems import responses
from service.domain.history import source_of
from service.domain.rejections import AccountNotFound
from service.errors import ProblemError
from service.storage.repositories import Repositories
from service.storage.repositories.history import Document
from service.storage.transactions import Reader
from service.wire.events import AccountEvent, AccountHistoryPage
from service.wire.reasons import CursorInvalid


@get(
    "/v1/ledgers/{ledger_name:str}/accounts/{account_id:uuid}/history",
    opt={"scope": "read"},
    operation_id="listAccountHistory",
    tags=["Accounts"],
    responses=responses(AccountNotFound, CursorInvalid),
)
async def list_account_history(
    request: Request[Principal, Any, Any],
    services: NamedDependency[Services],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    account_id: FromPath[UUID],
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    order: Order = "desc",
) -> Response[AccountHistoryPage]:
    """List who opened an account and who changed its name, metadata, bounds or status when: the old values and the new
    ones, as the feed has them. What was posted to it is in the lists of transfers and holds.
    """
    after = decode_cursor(request, order, cursor, UUID)
    account, _ = await services.accounts.get(ledger.id, account_id)
    if account is None:
        raise ProblemError(AccountNotFound(account_id))
    page = await page_response(
        request,
        reader,
        lambda session: Repositories(session).history.page_of_subject(
            ledger.id,
            source_of(ledger.name),
            subject_id=account_id,
            order=order,
            after=after,
            limit=limit + 1,
        ),
        order=order,
        limit=limit,
        view=_event,
        position=lambda entry: entry.id,
    )
    return cast("Response[AccountHistoryPage]", page)


def _event(entry: Document) -> AccountEvent:
    """Return the entry as the database wrote it."""
    return cast("AccountEvent", Raw(entry.text.encode()))
