"""``funds import``: open many accounts from a file; ``import_transfers`` has the transfers."""

from collections.abc import Sequence
from datetime import datetime
from typing import BinaryIO, TextIO

import click

from service.cli.connection import run_with_database
from service.cli.import_runs import CLIENT, FORMATS, Tally, end, end_after, form_of, refuse, refuse_damaged, run_pages
from service.cli.import_transfers import transfers
from service.cli.lines import Line, read_lines
from service.cli.names import ledger_name
from service.cli.records import Format, RefusedLine, Source
from service.cli.times import day_or_time
from service.domain.accounts import NewAccount
from service.domain.decisions import Key
from service.domain.fingerprints import request_fingerprint
from service.domain.ledgers import StoredLedger
from service.domain.limits import TRANSACTION_COMMANDS_MAX
from service.domain.operations import Operation
from service.domain.rejections import Rejection
from service.errors import LedgerDamagedError, StorageError, UnreadableFileError
from service.posting.openings import Opening, open_accounts
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions
from service.wire.accounts import AccountRequest

_OPERATION: Operation = "create_account"
_PAGE_LINES_DEFAULT = 500


@click.group(name="import")
def import_() -> None:
    """Bring data in from files."""


@import_.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--ledger",
    default="main",
    show_default=True,
    callback=ledger_name,
    help="The ledger in which the accounts are opened.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(set(FORMATS.values()))),
    help="CSV, or one JSON object a line. Without it the extension says: .csv, .jsonl or .ndjson.",
)
@click.option(
    "--page-lines",
    type=click.IntRange(1, TRANSACTION_COMMANDS_MAX),
    default=_PAGE_LINES_DEFAULT,
    show_default=True,
    help="How many lines one database transaction takes.",
)
@click.option("--report", type=click.File("w", "utf-8"), help="Write every refused line to this file, as JSON lines.")
@click.option(
    "--opened-at",
    metavar="TIME",
    callback=day_or_time,
    help="Open them as if on this day or at this time; no transfer of theirs may be dated before. Default: now.",
)
def accounts(
    file: BinaryIO,
    ledger: str,
    form: Format | None,
    page_lines: int,
    report: TextIO | None,
    opened_at: datetime | None,
) -> None:
    """Open the accounts that FILE lists; - reads standard input.

    A line has the fields of POST /v1/ledgers/{ledger}/accounts: reference and currency, and if need be name, code,
    normal_side, minimum_balance, maximum_balance (in minor units) and metadata (in CSV: a column metadata.NAME for
    each). A CSV file begins with the column names; an empty cell is an absent field, a row of empty cells is skipped.
    Files are UTF-8, with or without a byte order mark; cells are separated by commas.

    Lines are committed page by page. The same command again, also after Ctrl-C or a crash, skips what is done. Exits
    with 0 when no line was refused, 1 when some were or the import was stopped, 2 when the command cannot run so.
    """
    settings = Settings.from_environment()
    source = Source(file, settings.request_bytes_max)
    try:
        lines = read_lines(source, form_of(file, form))
    except UnreadableFileError as error:
        raise click.UsageError(str(error)) from None
    tally = Tally("opened")

    async def work(database: Database) -> None:
        transactions = Transactions(database, settings.commit_limits)
        found = await transactions.run(lambda session: Repositories(session).ledgers.by_name(ledger))
        if found is None:
            raise click.BadParameter(f"There is no ledger {ledger!r}.", param_hint="--ledger")

        async def import_page(page: Sequence[Line | RefusedLine]) -> None:
            await refuse_damaged(transactions, settings, found)
            await _import_page(transactions, settings, found, page, tally, report, opened_at)

        await run_pages(file, source, tally, lines, page_lines, import_page)

    try:
        run_with_database(settings, work)
    except (StorageError, LedgerDamagedError) as error:
        raise end_after(error, tally, source) from error
    end(tally, source)


def opening(ledger: StoredLedger, client: str, request: AccountRequest) -> Opening:
    """Return the command to open one account: its idempotency key is its content, wherever that was read."""
    key = Key(
        ledger_id=ledger.id,
        client_id=client,
        idempotency_key=f"account-{request_fingerprint(_OPERATION, request, ledger.name).hex()}",
        fingerprint=request_fingerprint(_OPERATION, request),
        operation=_OPERATION,
    )
    new = NewAccount(
        currency=request.currency,
        normal_side=request.normal_side,
        reference=request.reference,
        name=request.name,
        minimum_balance=request.minimum_balance,
        maximum_balance=request.maximum_balance,
        metadata=request.metadata,
        code=request.code,
    )
    return Opening(key, new)


async def _import_page(
    transactions: Transactions,
    settings: Settings,
    ledger: StoredLedger,
    page: Sequence[Line | RefusedLine],
    tally: Tally,
    report: TextIO | None,
    opened_at: datetime | None,
) -> None:
    openings = [opening(ledger, CLIENT, line.request) for line in page if isinstance(line, Line)]
    answers = iter(await open_accounts(transactions, settings, openings, opened_at=opened_at) if openings else ())
    for line in page:
        if isinstance(line, RefusedLine):
            refuse(line, tally, report)
            tally.last_line = line.line
            continue
        tally.last_line = line.number
        answer = next(answers)
        if isinstance(answer.result, Rejection):
            rejection = answer.result
            refuse(RefusedLine(line.number, line.request.reference, rejection.code, rejection.detail), tally, report)
        elif answer.replayed:
            tally.already_there += 1
        else:
            tally.made += 1
    if report is not None:
        report.flush()


import_.add_command(transfers)
