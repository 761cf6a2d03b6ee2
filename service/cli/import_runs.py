"""What all imports have in common: what is told of their progress, and how they are interrupted and ended."""

import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import FrameType, TracebackType
from typing import BinaryIO, Self, TextIO, TypeVar

import click
import msgspec
from msgspec import Struct
from rich.progress import Progress, TaskProgressColumn, TextColumn

from service.cli.progress import progress_bar
from service.cli.records import Format, RefusedLine, Source
from service.cli.urls import say
from service.domain.ledgers import StoredLedger
from service.errors import LedgerDamagedError, StorageError
from service.settings import Settings
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions

T = TypeVar("T")

CLIENT = "import"
"""The client under which the decisions of imports stand."""

_REFUSED_SHOWN_MAX = 20
FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Tally(Struct):
    """What an import has done so far; ``verb`` says what it does. Only the first refused lines are kept."""

    verb: str
    last_line: int = 0
    made: int = 0
    already_there: int = 0
    refused: int = 0
    refused_first: list[RefusedLine] = []
    stopped: bool = False

    def summary(self) -> str:
        """Return the counts in words."""
        return f"{self.made} {self.verb}, {self.already_there} already there, {self.refused} refused"


def form_of(file: BinaryIO, form: Format | None) -> Format:
    """Return ``form``, or what the name of ``file`` says. Raises UsageError."""
    form = form or FORMATS.get(Path(file.name).suffix.lower())
    if form is None:
        raise click.UsageError("The format is not plain from the file's name: say --format csv or --format jsonl.")
    return form


RESUME = "To go on, run the same command again: what is done is skipped."


class Interruption:
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

    def next_page(self, records: Iterator[T], records_max: int) -> list[T]:
        """Return up to ``records_max`` records; nothing at the end, or once an interruption is requested."""
        self._reading = True
        try:
            return [] if self.requested else list(islice(records, records_max))
        except KeyboardInterrupt:
            return []
        finally:
            self._reading = False

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._reading:  # perhaps for long, from a pipe
            raise KeyboardInterrupt


def refuse(line: RefusedLine, tally: Tally, report: TextIO | None) -> None:
    """Count ``line``, keep it if it is among the first, and write it to ``report``."""
    tally.refused += 1
    if len(tally.refused_first) < _REFUSED_SHOWN_MAX:
        tally.refused_first.append(line)
    if report is not None:
        report.write(msgspec.json.encode(line).decode() + "\n")


def import_progress(file: BinaryIO) -> Progress:
    """Return the bar; without a size of the file it shows only that it moves."""
    columns = [TaskProgressColumn()] if size_of(file) else []
    return progress_bar(*columns, TextColumn("{task.fields[so_far]}"))


def size_of(file: BinaryIO) -> int | None:
    """Return the bytes of a regular file, None for what has no size (a pipe, a terminal)."""
    return os.fstat(file.fileno()).st_size or None


async def run_pages(
    file: BinaryIO,
    source: Source,
    tally: Tally,
    records: Iterator[T],
    records_max: int,
    import_page: Callable[[Sequence[T]], Awaitable[None]],
) -> None:
    """Have ``import_page`` import up to ``records_max`` of ``records`` at a time, until none are left or the operator
    interrupts.
    """
    with import_progress(file) as progress, Interruption() as interruption:
        task = progress.add_task("Importing", total=size_of(file), so_far="")
        while page := interruption.next_page(records, records_max):
            await import_page(page)
            progress.update(task, completed=source.bytes_read, so_far=tally.summary())
        tally.stopped = interruption.requested


async def refuse_damaged(transactions: Transactions, settings: Settings, ledger: StoredLedger) -> None:
    """Raise LedgerDamagedError where verification found damage in the ledger, and the settings stop it for that."""
    if not settings.stop_on_damage:
        return
    known = await transactions.run(lambda session: Repositories(session).verifications.of(ledger.id))
    if known.findings:
        raise LedgerDamagedError


def end_after(error: StorageError | LedgerDamagedError, tally: Tally, source: Source) -> click.ClickException:
    """Tell what was done before ``error``, and return how the command ends."""
    _conclude(tally, source)
    if isinstance(error, LedgerDamagedError):
        return click.ClickException(f"Stopped after line {tally.last_line}: {error} {RESUME}")
    return click.ClickException(f"The database failed after line {tally.last_line} ({error}). {RESUME}")


def end(tally: Tally, source: Source) -> None:
    """Tell what was done, and end with 1 unless all of it was."""
    _conclude(tally, source)
    if tally.stopped:
        say(f"Stopped after line {tally.last_line}. {RESUME}")
    if tally.stopped or tally.refused:
        raise SystemExit(1)


def _conclude(tally: Tally, source: Source) -> None:
    """Tell what was done, and the first of what was refused."""
    for line in tally.refused_first:
        say(f"line {line.line}: {line.code}: {line.reason}")
    if tally.refused > len(tally.refused_first):
        say(f"and {tally.refused - len(tally.refused_first)} more; --report FILE writes them all.")
    if source.rows_empty:
        say(f"Rows of nothing but empty cells were skipped: {source.rows_empty}.")
    click.echo(f"{tally.summary()}.")
