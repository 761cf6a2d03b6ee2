"""``funds export``: the transfers of a period as a file of another accounting program, which adds them up again."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

import click
from msgspec import structs
from rich.progress import MofNCompleteColumn

from service.audit.exports import noting, prepare_export
from service.cli.connection import run_with_database
from service.cli.names import ledger_name
from service.cli.progress import progress_bar
from service.cli.times import day_or_time
from service.cli.urls import say
from service.domain.ledgers import StoredLedger
from service.errors import UnwritableFileError
from service.journals.audit_data import file_names, write_audit_data
from service.journals.beancount import write_beancount
from service.journals.hledger import write_hledger
from service.journals.writing import Export, Written
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.repositories import Repositories
from service.storage.transactions import Mode, Transactions

Format = Literal["hledger", "beancount", "ads"]

_STATEMENT_MILLISECONDS_MAX = 3_600_000
"""For statements that add up a whole ledger."""
_PARTIAL = ".partial"


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["hledger", "beancount", "ads"]),
    required=True,
    help="A journal of hledger or Beancount, or the general ledger files of the AICPA's Audit Data Standards.",
)
@click.option("--ledger", default="main", show_default=True, callback=ledger_name, help="The ledger to export.")
@click.option(
    "--from", "start", metavar="TIME", callback=day_or_time, help="The first value date; by default the first there is."
)
@click.option("--to", "end", metavar="TIME", callback=day_or_time, help="Only value dates before this; default: all.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write: a file, or for ads the directory of its three files. Without it standard output.",
)
def export(form: Format, ledger: str, start: datetime | None, end: datetime | None, output: Path | None) -> None:
    """Write the transfers of a period for another accounting program, which recomputes every balance.

    The period is one of value dates: days and times are of UTC, --to is not in it. What comes before it are opening
    balances. Everything is read on one snapshot of the database, in slices, while the service works on: of the replica
    where FUNDS_READ_DATABASE_URL names one. Nothing is written to it, and the role funds_auditor may do it.
    service/docs/exports.md says what stands where in the files.

    A file appears under its name when it is whole. Exits with 0 then, with 1 when it could not be written, with 2 when
    the command cannot run so.
    """
    if start is not None and end is not None and start >= end:
        raise click.BadParameter("it must lie after --from.", param_hint="--to")
    if form == "ads" and output is None:
        raise click.UsageError("Three files are written: say into which directory with --output.")
    # A statement may take longer than one of a request; on one snapshot nothing can be tried again.
    settings = structs.replace(Settings.from_environment(), statement_timeout_ms=_STATEMENT_MILLISECONDS_MAX)

    async def work(database: Database) -> int:
        snapshot = Transactions(database, RetryLimits(1, float("inf")), Mode.SNAPSHOT)
        return await snapshot.run_once(lambda session: _export(session, form, ledger, start, end, output))

    count = run_with_database(settings, work, connect=Database.connect_verification, on_replica=True)
    say(f"{count} transfers written.")


async def _export(
    session: Session, form: Format, name: str, start: datetime | None, end: datetime | None, output: Path | None
) -> int:
    ledger = await Repositories(session).ledgers.by_name(name)
    if ledger is None:
        raise click.BadParameter(f"There is no ledger {name!r}.", param_hint="--ledger")
    export = await prepare_export(session, ledger, start=start, end=end)
    with progress_bar(MofNCompleteColumn()) as progress:
        total = await _count(session, ledger, export) if progress.console.is_terminal else None
        task = progress.add_task(ledger.name, total=total)
        transfers = export.transfers
        noted = structs.replace(export, transfers=lambda: noting(transfers(), lambda: progress.advance(task)))
        return await _write(noted, form, output)


async def _count(session: Session, ledger: StoredLedger, export: Export) -> int:
    return await Repositories(session).exports.transfer_count(ledger.id, export.period)


async def _write(export: Export, form: Format, output: Path | None) -> int:
    """Write ``export`` to ``output`` and return how many transfers it has. Raises UnwritableFileError."""
    if form == "ads":
        assert output is not None, "asked for before"
        with ExitStack() as files:
            return await write_audit_data(
                export, *(files.enter_context(_file(output / name)) for name in file_names(export))
            )
    with _file(output) as write:
        return await (write_hledger if form == "hledger" else write_beancount)(export, write)


@contextmanager
def _file(path: Path | None) -> Iterator[Written]:
    """Give what writes the file at ``path``, or standard output. The file has another name until it is whole.

    Raises UnwritableFileError.
    """
    if path is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
        yield sys.stdout.write
        return
    partial = path.with_name(path.name + _PARTIAL)
    with _told(path):
        file = partial.open("w", encoding="utf-8", newline="\n")

    def write(text: str) -> None:
        with _told(path):
            file.write(text)

    try:
        yield write
        with _told(path):
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
    finally:
        with suppress(OSError):  # what could not be written is tried again
            file.close()
        partial.unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnwritableFileError(path, error.strerror or type(error).__name__) from error
