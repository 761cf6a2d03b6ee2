"""``funds import``: open many accounts from a file."""

import os
import signal
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import FrameType, TracebackType
from typing import BinaryIO, Self, TextIO

import click
import msgspec
from msgspec import Struct
from rich.progress import Progress, TaskProgressColumn, TextColumn

from service.api.schemas import AccountRequest
from service.cli.connection import run_with_database, say
from service.cli.lines import Format, Line, RefusedLine, Source, UnreadableFileError, read_lines
from service.cli.names import ledger_name
from service.cli.progress import progress_bar
from service.domain.fingerprints import request_fingerprint
from service.domain.limits import TRANSACTION_COMMANDS_MAX
from service.engine.administration import NewAccount, Refused
from service.engine.importing import Opening, open_accounts
from service.settings import Settings
from service.storage.database import Database
from service.storage.decisions import Key
from service.storage.errors import StorageError
from service.storage.ledgers import LedgerRepository
from service.storage.models import Ledger

CLIENT = "import"
"""The client under which the decisions of imports stand."""

_OPERATION = "create_account"
_PAGE_LINES_DEFAULT = 500
_REFUSED_SHOWN_MAX = 20
_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Tally(Struct):
    """What an import has done so far; only the first refused lines are kept."""

    last_line: int = 0
    opened: int = 0
    already_there: int = 0
    refused: int = 0
    refused_first: list[RefusedLine] = []
    stopped: bool = False

    def summary(self) -> str:
        """Return the counts in words."""
        return f"{self.opened} opened, {self.already_there} already there, {self.refused} refused"


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
    type=click.Choice(sorted(set(_FORMATS.values()))),
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
def accounts(file: BinaryIO, ledger: str, form: Format | None, page_lines: int, report: TextIO | None) -> None:
    """Open the accounts that FILE lists; - reads standard input.

    A line has the fields of POST /v1/ledgers/{ledger}/accounts: reference and currency, and if need be name,
    normal_side, minimum_balance, maximum_balance (in minor units) and metadata (in CSV: a column metadata.NAME for
    each). A CSV file begins with the column names; an empty cell is an absent field, a row of empty cells is skipped.
    Files are UTF-8, with or without a byte order mark; cells are separated by commas.

    Lines are committed page by page. The same command again, also after Ctrl-C or a crash, skips what is done. Exits
    with 0 when no line was refused, 1 when some were or the import was stopped, 2 when the command cannot run so.
    """
    settings = Settings.from_environment()
    form = form or _FORMATS.get(Path(file.name).suffix.lower())
    if form is None:
        raise click.UsageError("The format is not plain from the file's name: say --format csv or --format jsonl.")
    source = Source(file, settings.request_bytes_max)
    try:
        lines = read_lines(source, form)
    except UnreadableFileError as error:
        raise click.UsageError(str(error)) from None
    tally = Tally()

    async def work(database: Database) -> None:
        async with database.sessions() as session:
            found = await LedgerRepository(session).by_name(ledger)
        if found is None:
            raise click.BadParameter(f"There is no ledger {ledger!r}.", param_hint="--ledger")
        with _progress(file) as progress, _Interruption() as interruption:
            task = progress.add_task("Importing", total=_size(file), so_far="")
            while page := interruption.next_page(lines, page_lines):
                await _import_page(database, settings, found, page, tally, report)
                progress.update(task, completed=source.bytes_read, so_far=tally.summary())
            tally.stopped = interruption.requested

    try:
        run_with_database(settings, work)
    except StorageError as error:
        _conclude(tally, source)
        raise click.ClickException(f"The database failed after line {tally.last_line} ({error}). {_RESUME}") from error
    _conclude(tally, source)
    if tally.stopped:
        say(f"Stopped after line {tally.last_line}. {_RESUME}")
    if tally.stopped or tally.refused:
        raise SystemExit(1)


_RESUME = "To go on, run the same command again: what is done is skipped."


class _Interruption:
    """Ctrl-C and SIGTERM: while a page is in the database they wait for its end, while lines are read they end that."""

    def __init__(self) -> None:
        self.requested = False
        self._reading = False

    def __enter__(self) -> Self:
        self._previous = [(number, signal.signal(number, self._interrupt)) for number in _STOP_SIGNALS]
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous:
            signal.signal(number, handler)

    def next_page(self, lines: Iterator[Line | RefusedLine], lines_max: int) -> list[Line | RefusedLine]:
        """Return up to ``lines_max`` lines; nothing at the end, or once an interruption is requested."""
        self._reading = True
        try:
            return [] if self.requested else list(islice(lines, lines_max))
        except KeyboardInterrupt:
            return []
        finally:
            self._reading = False

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._reading:  # perhaps for long, from a pipe
            raise KeyboardInterrupt


def opening(ledger: Ledger, client: str, request: AccountRequest) -> Opening:
    """Return the command to open one account: its idempotency key is its content, wherever that was read."""
    key = Key(
        ledger_id=ledger.id,
        client_id=client,
        idempotency_key=f"account-{request_fingerprint(_OPERATION, request, ledger.name).hex()}",
        fingerprint=request_fingerprint(_OPERATION, request),
        operation=_OPERATION,
    )
    return Opening(key, NewAccount(**msgspec.structs.asdict(request)))


async def _import_page(
    database: Database,
    settings: Settings,
    ledger: Ledger,
    page: Sequence[Line | RefusedLine],
    tally: Tally,
    report: TextIO | None,
) -> None:
    openings = [opening(ledger, CLIENT, line.request) for line in page if isinstance(line, Line)]
    answers = iter(await open_accounts(database, settings, openings) if openings else ())
    for line in page:
        if isinstance(line, RefusedLine):
            _refuse(line, tally, report)
            tally.last_line = line.line
            continue
        tally.last_line = line.number
        answer = next(answers)
        if isinstance(answer, Refused):
            rejection = answer.rejection
            _refuse(RefusedLine(line.number, line.request.reference, rejection.code, rejection.detail), tally, report)
        elif answer.replayed:
            tally.already_there += 1
        else:
            tally.opened += 1
    if report is not None:
        report.flush()


def _refuse(line: RefusedLine, tally: Tally, report: TextIO | None) -> None:
    tally.refused += 1
    if len(tally.refused_first) < _REFUSED_SHOWN_MAX:
        tally.refused_first.append(line)
    if report is not None:
        report.write(msgspec.json.encode(line).decode() + "\n")


def _progress(file: BinaryIO) -> Progress:
    """Return the bar; without a size of the file it shows only that it moves."""
    columns = [TaskProgressColumn()] if _size(file) else []
    return progress_bar(*columns, TextColumn("{task.fields[so_far]}"))


def _size(file: BinaryIO) -> int | None:
    """Return the bytes of a regular file, None for what has no size (a pipe, a terminal)."""
    return os.fstat(file.fileno()).st_size or None


def _conclude(tally: Tally, source: Source) -> None:
    for line in tally.refused_first:
        say(f"line {line.line}: {line.code}: {line.reason}")
    if tally.refused > len(tally.refused_first):
        say(f"and {tally.refused - len(tally.refused_first)} more; --report FILE writes them all.")
    if source.rows_empty:
        say(f"Rows of nothing but empty cells were skipped: {source.rows_empty}.")
    click.echo(f"{tally.summary()}.")
