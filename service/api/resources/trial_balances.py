"""The trial balance of a ledger, and balances rolled up along its chart of accounts."""

import logging
from asyncio import to_thread
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, closing
from datetime import datetime
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO, Literal, cast
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Meta, Raw, Struct

from service.access.principal import Principal
from service.api.context import LedgerRef, Services
from service.api.http.files import CSV, XLSX, FileKind, FileTime, accepted, file_answer
from service.api.http.pagination import (
    LIMIT_DEFAULT,
    Cursor,
    Fitting,
    Limit,
    decode_cursor,
    encode_cursor,
    next_link,
)
from service.api.http.problems import responses
from service.api.resources.balances import refuse_ahead
from service.audit.balances import Times
from service.audit.trial_balances import LINES_AT_ONCE, TrialBalancePage, read_page
from service.domain.codes import stands_for
from service.domain.trial_balances import Totals, TrialBalanceLine, TrialBalanceOf, TrialBalancePlace, roll_up
from service.errors import ProblemError, TrialBalanceUnsoundError
from service.journals.trial_balances import (
    CsvTrialBalance,
    TrialBalanceFile,
    WorkbookTrialBalance,
    line_cells,
    totals_cells,
)
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.transactions import Reader
from service.wire.accounts import NormalSide
from service.wire.balances import AS_OF, KNOWN_AT
from service.wire.errors import MalformedError
from service.wire.reasons import CursorInvalid
from service.wire.scalars import AccountCode, Currency, Version
from service.wire.times import Time
from service.wire.trial_balances import (
    CodeBalance,
    CodeBalancesView,
    TrialBalanceItem,
    TrialBalanceTotals,
    TrialBalanceView,
)

logger = logging.getLogger(__name__)

_DIFFERENT = (
    "With what this cursor says came before, debits and credits differ. Read the trial balance from its beginning; if"
    " they differ still, GET …/integrity names the cause."
)
Form = Literal["json", "csv", "xlsx"]
_FILES: dict[Form, FileKind] = {"csv": CSV, "xlsx": XLSX}
_TABLES: dict[Form, Callable[[BinaryIO], TrialBalanceFile]] = {
    "csv": CsvTrialBalance,
    "xlsx": WorkbookTrialBalance,
}
_PART_BYTES = 1 << 16
ROLLED_UP_MAX = 50_000
"""Of how many accounts balances are rolled up in one answer."""

Sum = Annotated[str, Meta(pattern="^[0-9]{1,40}(?!\\n)$")]
Code = Annotated[
    AccountCode | None,
    QueryParameter(description="Of the accounts with this code, or one that goes on behind it with `:`, alone."),
]


class _Place(Struct, frozen=True, array_like=True):
    """What a cursor holds: the times of the trial balance, where it goes on, and what it came to there."""

    as_of: Time
    known_at: Time
    currency: Currency
    code: AccountCode | None
    id: UUID | None
    account_count: Version
    debit_balances: Sum
    credit_balances: Sum


class _Wanted(Struct, frozen=True):
    """What is asked for: the times, and of which accounts."""

    as_of: datetime | None
    known_at: datetime | None
    currency: str | None
    code: str | None


class _Read(Struct, frozen=True):
    """What was read: the times as they were resolved, a page, and for an answer its lines as it shows them, encoded."""

    asked: TrialBalanceOf
    page: TrialBalancePage
    items: list[Raw]


@get(
    "/v1/ledgers/{ledger_name:str}/trial-balance",
    opt={"scope": "read", "files": {kind.media_type: "All accounts in one file." for kind in _FILES.values()}},
    operation_id="getTrialBalance",
    tags=["Balances"],
    responses=responses(CursorInvalid),
)
async def get_trial_balance(
    request: Request[Principal, Any, Any],
    services: NamedDependency[Services],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    as_of: Annotated[Time | None, QueryParameter(description=AS_OF)] = None,
    known_at: Annotated[Time | None, QueryParameter(description=KNOWN_AT)] = None,
    currency: Annotated[Currency | None, QueryParameter(description="In this currency alone.")] = None,
    code: Code = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    form: Annotated[
        Form | None,
        QueryParameter(
            name="format",
            description="`csv` or `xlsx`: all accounts in one file, whatever `limit` is. Without it, what `Accept`"
            " names first.",
        ),
    ] = None,
) -> Response[TrialBalanceView]:
    """Read the balance of every account, on the side that it is on, by currency and account; with a code, by currency
    and code. All pages are of the moment of the first one. Of a whole ledger, the debits and the credits of a currency
    are found equal before its totals are told, and before a file is sent.
    """
    form = form or accepted(request, _FILES, "json")
    if form != "json":
        if cursor is not None:
            raise MalformedError("/query/cursor", "a file has all accounts; leave it out")
        time, slot = FileTime(services.settings.file_seconds_max), services.file_slots.taken(request.user.client)
        pages = time.within(_pages(reader, ledger, _Wanted(as_of, known_at, currency, code)))
        stream = await file_answer(request, "trial-balance", _FILES[form], time.within(_parts(form, pages, slot)))
        return cast("Response[TrialBalanceView]", stream)
    place = decode_cursor(request, "asc", cursor, _Place)
    if place is not None and place.code is not None and (code is None or not stands_for(code, place.code)):
        raise ProblemError(CursorInvalid())
    if place is not None:
        as_of, known_at = place.as_of, place.known_at
    try:
        found = await _read(reader, ledger, _Wanted(as_of, known_at, currency, code), place, limit, fitting=True)
    except TrialBalanceUnsoundError:
        if place is None:
            raise
        logger.exception("a trial balance does not balance, or its cursor was made up")
        raise ProblemError(CursorInvalid(), _DIFFERENT) from None
    rest, headers, next_cursor = found.page.rest, {}, None
    if rest is not None:
        next_cursor = encode_cursor(request, "asc", _place(found.asked, rest))
        headers = next_link(request, next_cursor)
    view = TrialBalanceView(
        ledger=ledger.name,
        as_of=found.asked.as_of,
        known_at=found.asked.known_at,
        items=cast("list[TrialBalanceItem]", found.items),
        totals=[_totals(one) for one in found.page.totals],
        next_cursor=next_cursor,
    )
    return Response(view, headers=headers)


@get(
    "/v1/ledgers/{ledger_name:str}/balances/by-code",
    opt={"scope": "read"},
    operation_id="getBalancesByCode",
    tags=["Balances"],
    responses=responses(),
)
async def get_balances_by_code(
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    code: Annotated[
        AccountCode,
        QueryParameter(description=f"What to roll up; it stands for {ROLLED_UP_MAX} accounts at most."),
    ],
    as_of: Annotated[Time | None, QueryParameter(description=AS_OF)] = None,
    known_at: Annotated[Time | None, QueryParameter(description=KNOWN_AT)] = None,
    currency: Annotated[Currency | None, QueryParameter(description="In this currency alone.")] = None,
) -> CodeBalancesView:
    """Read what the accounts of a code come to, as a whole and by the next segment, in each currency: at any time, by
    the codes of today.
    """
    sums: dict[tuple[str, str], Totals] = {}
    count = 0
    async with aclosing(_pages(reader, ledger, _Wanted(as_of, known_at, currency, code))) as pages:
        async for found in pages:
            count += len(found.page.lines)
            if count > ROLLED_UP_MAX:
                raise MalformedError(
                    "/query/code", f"it stands for more than {ROLLED_UP_MAX} accounts; give a longer one"
                )
            for line in found.page.lines:
                roll_up(sums, code, line)
    return CodeBalancesView(
        ledger=ledger.name,
        as_of=found.asked.as_of,
        known_at=found.asked.known_at,
        items=[_code_balance(one, totals) for (one, _), totals in sorted(sums.items())],
    )


async def _parts(
    form: Form, pages: AsyncGenerator[_Read, None], slot: AbstractAsyncContextManager[None]
) -> AsyncGenerator[bytes, None]:
    """Yield a file of ``pages`` in parts, once all of it is made and both sides of every currency are found equal; it
    is kept on disk meanwhile, and ``slot`` is held. Raises NoSlotError and TrialBalanceUnsoundError.
    """
    async with slot, aclosing(pages):
        with TemporaryFile() as whole:
            with closing(await to_thread(_TABLES[form], whole)) as table:
                async for found in pages:
                    rows = [line_cells(line) for line in found.page.lines]
                    rows += [totals_cells(totals, found.asked) for totals in found.page.totals]
                    await to_thread(table.add, rows)
                await to_thread(table.close)
            whole.seek(0)
            while part := await to_thread(whole.read, _PART_BYTES):
                yield part


async def _pages(reader: Reader, ledger: LedgerRef, wanted: _Wanted) -> AsyncGenerator[_Read, None]:
    """Yield all pages of what is ``wanted``, of the moment of the first one, each read in a transaction of its own."""
    place: _Place | None = None
    while True:
        found = await _read(reader, ledger, wanted, place, LINES_AT_ONCE, fitting=False)
        yield found
        if found.page.rest is None:
            return
        place = _place(found.asked, found.page.rest)
        wanted = _Wanted(place.as_of, place.known_at, wanted.currency, wanted.code)


async def _read(
    reader: Reader,
    ledger: LedgerRef,
    wanted: _Wanted,
    place: _Place | None,
    limit: int,
    *,
    fitting: bool,
) -> _Read:
    """Read up to ``limit`` lines of what is ``wanted``, behind ``place``; if ``fitting``, for an answer and no more
    than fits into one. Raises MalformedError for a time that lies ahead, ProblemError (cursor_invalid) of such a place
    in a cursor.
    """

    async def read(session: Session) -> tuple[Times, _Read | None]:
        times = Times.of(
            await Repositories(session).heads.look(ledger.id), as_of=wanted.as_of, known_at=wanted.known_at
        )
        if times.is_ahead:
            return times, None
        asked = TrialBalanceOf(as_of=times.as_of, known_at=times.known_at, currency=wanted.currency, code=wanted.code)
        shown = Fitting()
        page = await read_page(
            session,
            ledger.id,
            asked,
            _told(place),
            limit=limit,
            fits=lambda line: not fitting or shown.add(_item(line)),
        )
        return times, _Read(asked, page, shown.items)

    times, found = await reader(read, enough=lambda found: found[0].is_reached)
    if times.is_ahead and place is not None:
        raise ProblemError(CursorInvalid())
    refuse_ahead(times, "/query")
    assert found is not None, "what does not lie ahead is read"
    return found


def _told(place: _Place | None) -> TrialBalancePlace | None:
    if place is None:
        return None
    so_far = Totals(
        currency=place.currency,
        account_count=place.account_count,
        debit_balances=int(place.debit_balances),
        credit_balances=int(place.credit_balances),
    )
    return TrialBalancePlace(so_far=so_far, code=place.code, id=place.id)


def _place(asked: TrialBalanceOf, rest: TrialBalancePlace) -> _Place:
    so_far = rest.so_far
    return _Place(
        asked.as_of,
        asked.known_at,
        so_far.currency,
        rest.code,
        rest.id,
        so_far.account_count,
        str(so_far.debit_balances),
        str(so_far.credit_balances),
    )


def _item(line: TrialBalanceLine) -> TrialBalanceItem:
    account = line.account
    return TrialBalanceItem(
        account_id=account.id,
        reference=account.reference,
        code=account.code,
        name=account.name,
        currency=account.currency,
        normal_side=cast("NormalSide", account.normal_side),  # a constraint of the table keeps it to the known ones
        debit_balance=line.debit_balance,
        credit_balance=line.credit_balance,
    )


def _totals(totals: Totals) -> TrialBalanceTotals:
    return TrialBalanceTotals(
        currency=totals.currency,
        account_count=totals.account_count,
        debit_balances=str(totals.debit_balances),
        credit_balances=str(totals.credit_balances),
    )


def _code_balance(code: str, totals: Totals) -> CodeBalance:
    debit = totals.debit_balances - totals.credit_balances
    return CodeBalance(
        code=code,
        currency=totals.currency,
        account_count=totals.account_count,
        debit_balance=str(max(debit, 0)),
        credit_balance=str(max(-debit, 0)),
    )
