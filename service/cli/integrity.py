"""``funds verify``: whether the ledgers in a database are sound."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from msgspec import Struct, structs
from rich.progress import TaskProgressColumn, TextColumn

from service.audit.integrity import verify_ledger
from service.audit.kept_checkpoints import KeptCheckpoint, compare, read_kept
from service.audit.log_keys import LogKeys
from service.cli.connection import run_with_database
from service.cli.names import ledger_names
from service.cli.progress import progress_bar
from service.cli.times import day_or_time
from service.cli.urls import say
from service.domain.history import INSTALLATION, LoggedLedger
from service.domain.integrity import Finding
from service.errors import FundsError, SettingsError
from service.proofs.errors import ProofsError
from service.settings import PREFIX, RetryLimits, Settings
from service.storage.clock import database_time
from service.storage.database import Database, Session
from service.storage.errors import reason
from service.storage.repositories import Repositories
from service.storage.transactions import Mode, Transactions

SOUND, DAMAGED, WRONG_USE, NOT_CHECKED = 0, 1, 2, 3

_FINDINGS_MAX = 1_000
_LEDGERS_PAGE = 200
_STATEMENT_MILLISECONDS_MAX = 3_600_000
"""For statements that read a whole ledger. Those of slices take milliseconds."""


class LedgerReport(Struct):
    """What was found in one ledger, or in the installation (None): the first of the ``finding_count`` findings.
    ``entries`` of its history were compared with its log, up to a checkpoint of that size, and its history with
    ``checkpoints`` that were kept outside. What ``unknown_witnesses`` cosigned could not be verified.
    """

    ledger: str | None
    rows: int = 0
    entries: int = 0
    checkpoints: int = 0
    finding_count: int = 0
    findings: list[Finding] = []
    unknown_witnesses: list[str] = []

    def add(self, findings: Sequence[Finding]) -> None:
        """Count ``findings``, and keep them while there is room."""
        self.finding_count += len(findings)
        self.findings += findings[: _FINDINGS_MAX - len(self.findings)]


class Report(Struct):
    """What was found at the moment ``as_of``."""

    as_of: datetime
    sound: bool
    ledgers: list[LedgerReport]


@click.command()
@click.option(
    "--ledger", "names", multiple=True, callback=ledger_names, help="Only this ledger; repeat for more. Default: all."
)
@click.option("--since", metavar="TIME", callback=day_or_time, help="Only what was made or changed since this time.")
@click.option("--full", is_flag=True, help="With --since: the log too, and rules of a whole ledger.")
@click.option(
    "--checkpoint",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint that was kept outside, which the history must go on from; repeat for more.",
)
@click.option("--replica", "on_replica", is_flag=True, help="Verify the replica of FUNDS_READ_DATABASE_URL.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of sentences.")
def verify(
    names: tuple[str, ...],
    since: datetime | None,
    full: bool,  # noqa: FBT001
    files: tuple[Path, ...],
    on_replica: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Ask of ledgers whether every rule of a sound ledger holds, and name every row that breaks one. Without --ledger,
    the installation's own history is verified first: its ledgers and tokens.

    So is its log: each entry is hashed again and compared with the tiles, and these with every checkpoint, whose
    signatures are verified by FUNDS_LOG_KEY and FUNDS_LOG_VERIFIER_KEYS, where one of them is set. What witnesses
    cosigned is verified by their keys, in FUNDS_LOG_WITNESSES and FUNDS_LOG_VERIFIER_KEYS. A checkpoint that was kept
    outside must be signed by one of these keys, and tells which log it is of: what the history lacks of it was lost, as
    when an older backup was restored.

    Everything is read on one snapshot of the database, in slices, while the service works on. Nothing is written: the
    role funds_auditor may do it. Without --since, every row and every rule is looked at.

    A long snapshot holds back VACUUM. With --replica it is one of the replica, of what it holds by then; not beside
    --checkpoint, for what a replica has not replayed yet would be told as lost. One that is away is not checked.

    Exits with 0 when all is sound, 1 when damage was found, 2 when the command cannot run so, 3 when it could not be
    checked.
    """
    with _exit_codes():
        # A command may take longer than a request; on one snapshot nothing can be tried again.
        settings = structs.replace(Settings.from_environment(), statement_timeout_ms=_STATEMENT_MILLISECONDS_MAX)
        if on_replica and files:
            raise click.UsageError("A kept checkpoint is compared with the database: leave --replica out.")
        if on_replica and settings.read_database_url is None:
            raise click.BadParameter(f"{PREFIX}READ_DATABASE_URL must name one.", param_hint="--replica")
        keys = LogKeys.of(settings)
        kept = [_kept(file, keys) for file in files]

        async def work(database: Database) -> Report:
            snapshot = Transactions(database, RetryLimits(1, float("inf")), Mode.SNAPSHOT)
            whole = full or since is None

            async def everything(session: Session) -> Report:
                report = await _verified(session, names, since, keys, whole=whole)
                await _compare(session, report, kept)
                return report

            return await snapshot.run_once(everything)

        report = run_with_database(settings, work, connect=Database.connect_verification, on_replica=on_replica)
    click.echo(msgspec.json.encode(report).decode() if as_json else _in_words(report))
    raise SystemExit(SOUND if report.sound else DAMAGED)


@contextmanager
def _exit_codes() -> Iterator[None]:
    """End with NOT_CHECKED for whatever keeps the command from its work, which must never look like damage."""
    try:
        yield
    except SettingsError as error:
        _end(str(error), WRONG_USE)
    except FundsError as error:
        _end(f"Not checked: {error}", NOT_CHECKED)
    except click.ClickException:
        raise
    except Exception as error:  # noqa: BLE001 - its exit code would be that of damage
        _end(f"Not checked: {reason(error)}", NOT_CHECKED)


def _end(sentence: str, code: int) -> NoReturn:
    say(sentence)
    raise SystemExit(code)


def _kept(file: Path, keys: LogKeys) -> KeptCheckpoint:
    """Return the checkpoint in ``file``. Raises BadParameter for one that no known key signed."""
    if not keys.logs:
        raise click.BadParameter(
            f"{PREFIX}LOG_VERIFIER_KEYS must name the key that signed it.", param_hint="--checkpoint"
        )
    try:
        return read_kept(file.read_text(), keys)
    except (ProofsError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file}: {error}", param_hint="--checkpoint") from None


async def _compare(session: Session, report: Report, kept: Sequence[KeptCheckpoint]) -> None:
    """Add to ``report`` what the histories lack of ``kept``, also of ledgers that are not there any more."""
    for checkpoint in kept:
        name = checkpoint.ledger or None
        own = next((one for one in report.ledgers if one.ledger == name), None)
        if own is None:
            own = LedgerReport(name)
            report.ledgers.append(own)
        own.checkpoints += 1
        own.add(await compare(session, checkpoint))
        report.sound &= not own.findings


async def _verified(
    session: Session, names: Sequence[str], since: datetime | None, keys: LogKeys, *, whole: bool
) -> Report:
    report = Report(as_of=await database_time(session), sound=True, ledgers=[])
    with progress_bar(TaskProgressColumn(), TextColumn("{task.fields[found]}")) as progress:
        async for ledger in _ledgers(session, names):
            own = LedgerReport(ledger.name or None)
            report.ledgers.append(own)
            total = await _count_rows(session, ledger.id, since, whole=whole) if progress.console.is_terminal else None
            task = progress.add_task(ledger.title, total=total, found="")
            async for step in verify_ledger(session, ledger.id, since=since, whole=whole, keys=keys):
                own.rows += step.row_count
                own.entries += step.entry_count
                own.add(step.findings)
                own.unknown_witnesses = sorted({*own.unknown_witnesses, *step.unknown_witnesses})
                progress.update(task, completed=own.rows + own.entries, found=_count(own) if own.findings else "")
            report.sound &= not own.findings
    return report


async def _count_rows(session: Session, ledger_id: int, since: datetime | None, *, whole: bool) -> int:
    """Return how many rows there are to look at, and entries to compare with the log."""
    repositories = Repositories(session)
    checkpoint = await repositories.log.checkpoint(ledger_id) if whole else None
    return await repositories.integrity.rows(ledger_id, since) + (0 if checkpoint is None else checkpoint.size)


async def _ledgers(session: Session, names: Sequence[str]) -> AsyncIterator[LoggedLedger]:
    """Yield the ledgers called ``names``, or the installation and all. Raises BadParameter for a name that none has."""
    ledgers = Repositories(session).ledgers
    missing = sorted(set(names) - await ledgers.known_names(names)) if names else []
    if missing:
        raise click.BadParameter(f"There is no ledger {missing[0]!r}.", param_hint="--ledger")
    if not names:
        yield INSTALLATION
    after: str | None = None
    while True:
        page = [
            LoggedLedger(ledger.id, ledger.name)
            async for rows in ledgers.page(limit=_LEDGERS_PAGE, order="asc", after=after, names=names or None)
            for ledger in rows
        ]
        for ledger in page:
            yield ledger
        if len(page) < _LEDGERS_PAGE:
            return
        after = page[-1].name


def _in_words(report: Report) -> str:
    return "\n".join(line for ledger in report.ledgers for line in _lines(ledger))


def _lines(ledger: LedgerReport) -> list[str]:
    title = ledger.ledger or INSTALLATION.title
    rows = f"{ledger.rows} rows looked at"
    if ledger.entries:
        rows += f", {ledger.entries} entries compared with the log"
    if ledger.checkpoints:
        rows += f", {ledger.checkpoints} kept checkpoint{'s' if ledger.checkpoints != 1 else ''} compared"
    told = [f"  not verified: what {one} cosigned, which the settings do not name" for one in ledger.unknown_witnesses]
    if not ledger.findings:
        return [f"{title}: sound ({rows})", *told]
    lines = [f"{title}: DAMAGED, {_count(ledger)} ({rows})", *told]
    lines += [f"  {one.table} {one.id}: {one.wrong}\n    breaks: {one.rule}" for one in ledger.findings]
    hidden = ledger.finding_count - len(ledger.findings)
    return [*lines, f"  and {hidden} more"] if hidden else lines


def _count(ledger: LedgerReport) -> str:
    return f"{ledger.finding_count} finding{'s' if ledger.finding_count != 1 else ''}"
