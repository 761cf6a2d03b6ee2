"""The chart of accounts: which codes there are."""

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from service.access.principal import Principal
from service.api.context import LedgerRef
from service.api.http.pagination import LIMIT_DEFAULT, Cursor, Limit, decode_cursor, page_response
from service.api.http.problems import responses
from service.storage.repositories import Repositories
from service.storage.transactions import Reader
from service.wire.codes import CodeView
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid
from service.wire.scalars import AccountCode


class _Place(Struct, frozen=True, array_like=True):
    """What a cursor holds: the code that it continues after, and whether accounts have just that one."""

    code: AccountCode
    has_accounts: bool


@get(
    "/v1/ledgers/{ledger_name:str}/codes",
    opt={"scope": "read"},
    operation_id="listCodes",
    tags=["Accounts"],
    responses=responses(CursorInvalid),
)
async def list_codes(
    request: Request[Principal, Any, Any],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    prefix: Annotated[
        AccountCode | None,
        QueryParameter(description="The codes one segment behind this one; without it, those of one segment."),
    ] = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Response[Page[CodeView]]:
    """List the codes that stand for accounts of the ledger, a segment at a time, as balances roll up along them: in the
    order of the first code of an account that each stands for (by its bytes). The list ends.
    """
    place = decode_cursor(request, "asc", cursor, _Place)
    after = None if place is None else (place.code, place.has_accounts)
    return await page_response(
        request,
        reader,
        lambda session: Repositories(session).codes.page(ledger.id, prefix, limit=limit + 1, after=after),
        order="asc",
        limit=limit,
        view=lambda row: CodeView(code=row.code, has_accounts=row.has_accounts, goes_on=row.goes_on),
        position=lambda row: _Place(row.code, row.has_accounts),
        appended=False,
    )
