"""Statements of accounts."""

from asyncio import to_thread
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, closing
from datetime import UTC, datetime
from functools import partial
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO, Literal, cast
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import UNSET, Struct

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
from service.audit.statements import (
    Asked,
    OpenedStatement,
    StatementPage,
    open_statement,
    order_of,
    read_lines,
    read_on,
)
from service.domain.exports import Period
from service.domain.history import LoggedLedger
from service.domain.rejections import AccountNotFound
from service.domain.statements import Line, Position, Statement
from service.errors import AmountTooLargeError, ProblemError, UnknownCurrencyError
from service.journals.camt053 import Camt053Statement
from service.journals.statement_workbook import WorkbookStatement
from service.journals.statements import CsvStatement, Proof, StatementFile, WholeStatement
from service.storage.database import Session
from service.storage.plans import Plans
from service.storage.repositories.log import Checkpoint
from service.storage.slots import Slots
from service.storage.transactions import Reader
from service.wire.accounts import NormalSide
from service.wire.balances import KNOWN_AT
from service.wire.errors import MalformedError
from service.wire.reasons import CursorInvalid
from service.wire.statements import Axis, CheckpointRef, StatementLine, StatementView
from service.wire.times import Time

Form = Literal["json", "csv", "xlsx", "camt053"]
_FILES: dict[Form, FileKind] = {"csv": CSV, "xlsx": XLSX, "camt053": FileKind("application/xml", "xml")}
_PART = 500
"""How many lines of a file are in memory at a time."""


FILE_SLOTS = 8


def file_slots() -> Slots:
    """Return the slots of files: FILE_SLOTS are made at a time, which bounds the disk space that workbooks take."""
    return Slots(FILE_SLOTS)


class _Place(Struct, frozen=True, array_like=True):
    """What a cursor holds: the position that it continues behind, and up to when what was recorded counts."""

    known_at: Time
    at: Time
    id: UUID


@get(
    "/v1/ledgers/{ledger_name:str}/accounts/{account_id:uuid}/statement",
    operation_id="getStatement",
    tags=["Balances"],
    opt={"scope": "read", "files": {kind.media_type: "All lines in one file." for kind in _FILES.values()}},
    responses=responses(AccountNotFound, CursorInvalid),
)
async def get_statement(
    request: Request[Principal, Any, Any],
    services: NamedDependency[Services],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    account_id: FromPath[UUID],
    start: Annotated[Time, QueryParameter(name="from", description="Where the period begins, inclusive.")],
    end: Annotated[Time, QueryParameter(name="to", description="Where the period ends, exclusive.")],
    axis: Annotated[
        Axis,
        QueryParameter(
            description="By what transfers fall into the period, and are ordered: `recorded` (`created_at`) or `value`"
            " (`effective_at`)."
        ),
    ] = "recorded",
    known_at: Annotated[Time | None, QueryParameter(description=KNOWN_AT)] = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    form: Annotated[
        Form | None,
        QueryParameter(
            name="format",
            description="`csv`, `xlsx` or `camt053` (ISO 20022 camt.053.001.08): all lines in one file, whatever"
            " `limit` is. Without it, what `Accept` names first.",
        ),
    ] = None,
) -> Response[StatementView]:
    """Read every transfer of an account in a period, between the balances before it and at its end, which they add up
    to. All pages show what was recorded when the first one was read. A file that does not add up, or takes too long,
    ends without its end.
    """
    if start > end:
        raise MalformedError("/query/to", "the period ends before it begins; from must not lie behind to")
    form = form or accepted(request, _FILES, "json")
    if form != "json" and cursor is not None:
        raise MalformedError("/query/cursor", "a file has all lines of the period; leave it out")
    place = decode_cursor(request, "asc", cursor, _Place)
    asked = Asked(account_id, axis, Period(start, end), known_at if place is None else place.known_at)
    after = None if place is None else Position(place.at, place.id)
    logged = LoggedLedger(ledger.id, ledger.name)

    async def read(session: Session) -> tuple[OpenedStatement, StatementPage | None]:
        opened = await open_statement(session, logged, asked)
        if opened.statement is None:
            return opened, None
        lines_max = limit if form == "json" else _PART
        return opened, await read_lines(session, logged, opened.statement, opened.checkpoint, after, lines_max)

    opened, page = await reader(
        read, enough=lambda found: found[1] is not None and found[0].times.is_reached, plans=Plans.KEPT
    )
    if opened.times.is_ahead and place is not None:
        raise ProblemError(CursorInvalid())
    refuse_ahead(opened.times, "/query")
    if opened.statement is None or page is None:
        raise ProblemError(AccountNotFound(account_id))
    if form == "json":
        return _answer(request, ledger, opened.statement, opened.checkpoint, page)
    checkpoint = opened.checkpoint
    whole = WholeStatement(
        ledger.name,
        opened.statement,
        None if checkpoint is None else Proof(checkpoint.size, checkpoint.root),
        datetime.now(UTC),
    )
    time, slot = FileTime(services.settings.file_seconds_max), services.file_slots.taken(request.user.client)
    pages = time.within(_pages(reader, logged, opened.statement, page))
    return await _file(request, form, time.within(_parts(form, whole, pages, slot)))


async def _pages(
    reader: Reader, ledger: LoggedLedger, statement: Statement, page: StatementPage
) -> AsyncGenerator[StatementPage, None]:
    """Yield ``page``, the first one of ``statement``, and those behind it, each read in a transaction of its own."""
    while True:
        yield page
        if page.rest is None:
            return
        found = await reader(
            partial(_read_on, ledger, statement, page.rest),
            enough=lambda page: page is not None,
            plans=Plans.KEPT,
        )
        assert found is not None, "the primary holds all that it did"
        page = found


async def _read_on(
    ledger: LoggedLedger, statement: Statement, after: Position, session: Session
) -> StatementPage | None:
    return await read_on(session, ledger, statement, after, _PART)


async def _file(
    request: Request[Principal, Any, Any], form: Form, parts: AsyncGenerator[bytes, None]
) -> Response[StatementView]:
    """Answer with a file of ``parts`` as they are made; the first one is made before the answer begins."""
    try:
        stream = await file_answer(request, "statement", _FILES[form], parts)
    except (UnknownCurrencyError, AmountTooLargeError) as error:
        raise MalformedError("/query/format", str(error)) from error
    return cast("Response[StatementView]", stream)


async def _parts(
    form: Form,
    whole: WholeStatement,
    pages: AsyncGenerator[StatementPage, None],
    slot: AbstractAsyncContextManager[None],
) -> AsyncGenerator[bytes, None]:
    """Yield a file of ``pages`` in parts, the first one of the first page, and hold ``slot`` meanwhile. What it is made
    of is put together in another thread: a workbook takes a while.

    Raises NoSlotError, UnknownCurrencyError and AmountTooLargeError.
    """
    async with slot, aclosing(pages):
        with TemporaryFile() as workbook, closing(await to_thread(_statement_file, form, whole, workbook)) as file:
            part = await to_thread(file.begin)
            async for page in pages:
                yield part + await to_thread(file.add, page.lines)
                part = b""
            ends = iter(file.end())
            while part := await to_thread(next, ends, b""):
                yield part


def _statement_file(form: Form, whole: WholeStatement, workbook: BinaryIO) -> StatementFile:
    if form == "xlsx":
        return WorkbookStatement(whole, workbook)
    return CsvStatement(whole) if form == "csv" else Camt053Statement(whole)


def _answer(
    request: Request[Principal, Any, Any],
    ledger: LedgerRef,
    statement: Statement,
    checkpoint: Checkpoint | None,
    page: StatementPage,
) -> Response[StatementView]:
    lines, rest = Fitting(), page.rest
    shown = [line for line in page.lines if lines.add(_line(line))]
    if len(shown) < len(page.lines):
        rest = order_of(statement.axis, statement.known_at).of(shown[-1].transfer)
    cursor, headers = None, {}
    if rest is not None:
        cursor = encode_cursor(request, "asc", _Place(statement.known_at, rest.at, rest.id))
        headers = next_link(request, cursor)
    account = statement.account
    view = StatementView(
        account_id=account.id,
        ledger=ledger.name,
        reference=account.reference,
        name=account.name,
        currency=account.currency,
        normal_side=cast("NormalSide", account.normal_side),  # a constraint of the table keeps it to the known ones
        axis=statement.axis,
        start=statement.period.start,
        end=statement.period.end,
        known_at=statement.known_at,
        opening_balance=statement.opening,
        closing_balance=statement.closing,
        checkpoint=None if checkpoint is None else _checkpoint(checkpoint),
        items=cast("list[StatementLine]", lines.items),
        next_cursor=cursor,
    )
    return Response(view, headers=headers)


def _checkpoint(checkpoint: Checkpoint) -> CheckpointRef:
    return CheckpointRef(size=checkpoint.size, root=b64encode(checkpoint.root).decode())


def _line(line: Line) -> StatementLine:
    transfer = line.transfer
    return StatementLine(
        transfer_id=transfer.id,
        log_index=line.log_index,
        version=line.version,
        created_at=transfer.created_at,
        effective_at=transfer.effective_at,
        requested_effective_at=UNSET if transfer.requested_effective_at is None else transfer.requested_effective_at,
        counterparty_id=line.counterparty_id,
        counterparty_reference=line.counterparty_reference,
        counterparty_name=line.counterparty_name,
        amount=line.amount,
        balance=line.balance,
        reference=transfer.reference,
        description=transfer.description,
        hold_id=transfer.hold_id,
        reverses_id=transfer.reverses_id,
        client=transfer.client_id,
    )
