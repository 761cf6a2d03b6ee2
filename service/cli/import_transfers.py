"""``funds import transfers``: post what another ledger has recorded, from a file."""

import csv
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, BinaryIO, TextIO
from uuid import UUID

import click
from msgspec import structs

from service.cli.connection import run_with_database
from service.cli.entries import read_entries
from service.cli.import_runs import CLIENT, FORMATS, Tally, end, end_after, form_of, refuse, refuse_damaged, run_pages
from service.cli.layouts import FIELDS, METADATA, ORIGINS, Layout, Origin
from service.cli.names import ledger_name
from service.cli.records import Format, RefusedLine, Source
from service.cli.times import day_or_time
from service.domain.commands import PostTransfer
from service.domain.fingerprints import fingerprint
from service.domain.ledgers import StoredLedger
from service.domain.limits import METADATA_ENTRIES_MAX
from service.domain.rejections import AccountNotFound, IdempotencyKeyReused
from service.errors import LedgerDamagedError, StorageError, UnreadableFileError
from service.journals.entries import Entry
from service.posting.committer import Committer
from service.posting.imports import Imported, ImportedEntry, import_entries
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions

_DELIMITERS = {",": ",", ";": ";", "|": "|", "tab": "\t"}
_REFERENCES_KEPT_MAX = 100_000
_NUMBER, _SOURCE = "import_number", "import_source"
"""Metadata of transfers: what the source calls the entry, and what the operator calls the source."""

Page = Sequence[Entry | RefusedLine]


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--ledger", default="main", show_default=True, callback=ledger_name, help="The ledger to post to.")
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(set(FORMATS.values()))),
    help="CSV, or one JSON object a line. Without it the extension says: .csv, .jsonl or .ndjson.",
)
@click.option("--from", "origin", type=click.Choice(sorted(ORIGINS)), help="Read what this program exports.")
@click.option(
    "--source", "source_name", help="A name for where the numbers of entries come from, if there are several."
)
@click.option("--delimiter", type=click.Choice(sorted(_DELIMITERS)), default=",", show_default=True, help="Of CSV.")
@click.option("--column", "columns", multiple=True, metavar="FIELD=NAME", help="What the file calls a column.")
@click.option("--ignore-columns", is_flag=True, help="Ignore columns of other names.")
@click.option("--major-units", is_flag=True, help="Amounts are in major units: 10.50, not 1050.")
@click.option("--decimal-comma", is_flag=True, help="Amounts in major units have a comma: 1.234,50.")
@click.option("--date-format", metavar="FORMAT", help="How days are written, as strptime has it: %d.%m.%Y.")
@click.option("--effective-at", metavar="TIME", callback=day_or_time, help="The value date of entries that have none.")
@click.option("--currency", metavar="CODE", help="The currency of rows that name none.")
@click.option(
    "--commodity", "commodities", multiple=True, metavar="TEXT=CODE", help="What stands for a currency: $=USD."
)
@click.option(
    "--account",
    default="{account}",
    show_default=True,
    help="The reference of an account, made of what the file calls it: {account}:{currency} where it has several.",
)
@click.option("--opening-account", metavar="REFERENCE", help="Rows are balances; this account is their other side.")
@click.option("--again", is_flag=True, help="Decide again what an earlier import rejected, with the causes removed.")
@click.option("--check", is_flag=True, help="Read all of the file and look up its accounts, but post nothing.")
@click.option(
    "--missing-accounts",
    "missing",
    type=click.File("w", "utf-8"),
    help="Write the accounts that the ledger lacks to this file, as `funds import accounts` reads them.",
)
@click.option("--report", type=click.File("w", "utf-8"), help="Write every refused line to this file, as JSON lines.")
def transfers(
    file: BinaryIO,
    ledger: str,
    form: Format | None,
    origin: Origin | None,
    source_name: str | None,
    report: TextIO | None,
    missing: TextIO | None,
    *,
    again: bool,
    check: bool,
    **reading: Any,
) -> None:
    """Post the transfers that FILE lists; - reads standard input.

    A record names accounts by their references: debit_account, credit_account, amount, currency, and if need be number,
    effective_at (the value date), reference, description and metadata. Or a row is a posting: number, account, amount
    (or debit and credit), currency; rows that follow each other with the same number are one entry, which is applied
    as one group, or refused with what is missing to balance it. service/docs/imports.md has all of it.

    Entries are checked by the rules of all transfers and committed page by page. The same command again, also after
    Ctrl-C or a crash, skips what is done, and does not try again what was rejected, unless --again is given or it says
    something else now. Exits with 0 when no line was refused, 1 when some were or the import was stopped, 2 when the
    command cannot run so.
    """
    settings = Settings.from_environment()
    layout = _layout(origin, **reading)
    source = Source(file, settings.request_bytes_max)
    known_form: Format | None = "jsonl" if origin == "formance" else "csv" if origin else None
    try:
        form = form_of(file, known_form or form)
        pages = _pages(read_entries(source, form, layout, formance=origin == "formance"), settings.batch_commands_max)
    except UnreadableFileError as error:
        raise click.UsageError(str(error)) from None
    tally = Tally("checked" if check else "posted")

    async def work(database: Database) -> None:
        transactions = Transactions(database, settings.commit_limits)
        found = await transactions.run(lambda session: Repositories(session).ledgers.by_name(ledger))
        if found is None:
            raise click.BadParameter(f"There is no ledger {ledger!r}.", param_hint="--ledger")
        committer = Committer(transactions, settings)
        with closing(_Keys(source_name)) as keys:
            lacking = None if missing is None else _MissingAccounts(missing)
            poster = _Poster(transactions, committer, settings, found, keys, lacking, again=again, check=check)

            async def import_pages(pages: Sequence[Page]) -> None:
                await refuse_damaged(transactions, settings, found)
                for page in pages:
                    _note(page, await poster.post(page), tally, report)

            await committer.start()
            try:
                await run_pages(file, source, tally, pages, 1, import_pages)
            finally:
                await committer.stop()

    try:
        run_with_database(settings, work, connect=Database.connect_batches)
    except (StorageError, LedgerDamagedError) as error:
        raise end_after(error, tally, source) from error
    end(tally, source)


def _layout(origin: Origin | None, **given: Any) -> Layout:
    """Return how the file is read: as ``origin`` has it, and as is ``given``. Raises BadParameter."""
    base = Layout() if origin is None else ORIGINS[origin]
    columns = _pairs("--column", given.pop("columns"))
    unknown = [field for field in columns if field not in FIELDS and not field.startswith(METADATA)]
    if unknown:
        raise click.BadParameter(
            f"{unknown[0]!r} is no field; they are {', '.join(FIELDS)} and metadata.NAME.", param_hint="--column"
        )
    commodities = _pairs("--commodity", given.pop("commodities"))
    given["delimiter"] = _DELIMITERS[given["delimiter"]]
    said = {name: value for name, value in given.items() if value is not None and value is not False}
    said |= {"columns": {**base.columns, **columns}, "currencies": commodities}
    return structs.replace(base, **said)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Return what stands before and behind the first equals sign of each of ``texts``. Raises BadParameter."""
    pairs = [text.partition("=") for text in texts]
    if not all(name and sign and value for name, sign, value in pairs):
        raise click.BadParameter("write two texts with an equals sign between them.", param_hint=option)
    return {name: value for name, _, value in pairs}


def _pages(entries: Iterator[Entry | RefusedLine], commands_max: int) -> Iterator[Page]:
    """Yield ``entries`` in order, as many at a time as make ``commands_max`` commands; at least one."""
    page: list[Entry | RefusedLine] = []
    size = 0
    for entry in entries:
        page.append(entry)
        size += 1 if isinstance(entry, RefusedLine) else len(entry.pairs)
        if size >= commands_max:
            yield page
            page, size = [], 0
    if page:
        yield page


class _Keys:
    """Gives entries the keys by which they are known again: by the source's number, or by what they say, and how many
    before them in the file say the same. These are counted on disk, because there may be many.
    """

    def __init__(self, source_name: str | None) -> None:
        self._source_name = source_name
        self._seen = sqlite3.connect("", isolation_level=None)  # a file without a name, gone when it is closed
        self._seen.execute("CREATE TABLE seen (content BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID")

    def close(self) -> None:
        """Forget what was counted."""
        self._seen.close()

    def key_of(self, entry: Entry) -> str:
        """Return the key of ``entry``, the next one of the file."""
        if entry.number is not None:
            known_by = fingerprint("import", self._source_name, entry.number)
        else:
            known_by = fingerprint("import", self._source_name, entry.content(), self._times(entry.content()))
        return f"entry-{known_by.hex()}"

    def _times(self, content: bytes) -> int:
        """Return how often ``content`` has been seen, this time included."""
        self._seen.execute(
            "INSERT INTO seen VALUES (?, 1) ON CONFLICT (content) DO UPDATE SET times = times + 1", (content,)
        )
        [times] = self._seen.execute("SELECT times FROM seen WHERE content = ?", (content,)).fetchone()
        return int(times)

    def told(self, entry: Entry) -> dict[str, str]:
        """Return the metadata of ``entry``, with where it comes from as far as there is room for that."""
        told = {_NUMBER: entry.number, _SOURCE: self._source_name}
        known = {name: value for name, value in told.items() if value is not None}
        return known | entry.metadata if len(entry.metadata) + len(known) <= METADATA_ENTRIES_MAX else entry.metadata


class _MissingAccounts:
    """Writes the accounts that a ledger lacks, each once as far as it remembers."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(("reference", "currency"))
        self._written: OrderedDict[tuple[str, str], None] = OrderedDict()

    def note(self, entry: Entry, ids: Mapping[str, UUID]) -> None:
        """Write the accounts of ``entry`` that are not among ``ids``."""
        for account in ((name, pair.currency) for pair in entry.pairs for name in (pair.debit, pair.credit)):
            if account[0] not in ids and account not in self._written:
                self._rows.writerow(account)
                self._written[account] = None
        while len(self._written) > _REFERENCES_KEPT_MAX:
            self._written.popitem(last=False)
        self._file.flush()


class _Poster:
    """Posts the entries of pages; with ``check`` it only looks up their accounts."""

    def __init__(
        self,
        transactions: Transactions,
        committer: Committer,
        settings: Settings,
        ledger: StoredLedger,
        keys: _Keys,
        lacking: _MissingAccounts | None,
        *,
        again: bool,
        check: bool,
    ) -> None:
        self._transactions = transactions
        self._committer = committer
        self._settings = settings
        self._ledger = ledger
        self._keys = keys
        self._lacking = lacking
        self._again = again
        self._check = check
        self._ids: OrderedDict[str, UUID] = OrderedDict()

    async def post(self, page: Page) -> dict[int, Imported | RefusedLine]:
        """Return what became of each entry of ``page``, by its place. Raises StorageError."""
        entries = {place: entry for place, entry in enumerate(page) if isinstance(entry, Entry)}
        ids = await self._look_up(
            {name for entry in entries.values() for pair in entry.pairs for name in (pair.debit, pair.credit)}
        )
        results: dict[int, Imported | RefusedLine] = {}
        prepared: dict[int, ImportedEntry] = {}
        for place, entry in entries.items():
            key = self._keys.key_of(entry)
            missing = next(
                (name for pair in entry.pairs for name in (pair.debit, pair.credit) if name not in ids), None
            )
            if missing is not None:
                if self._lacking is not None:
                    self._lacking.note(entry, ids)
                reason = f"This ledger has no account with the reference {missing!r}."
                results[place] = RefusedLine(entry.line, entry.number, AccountNotFound.code, reason)
            elif self._check:
                results[place] = Imported(None, replayed=False)
            else:
                prepared[place] = ImportedEntry(key, self._commands(entry, ids))
        imported = await import_entries(
            self._transactions,
            self._committer,
            list(prepared.values()),
            commands_max=self._settings.batch_commands_max,
            again=self._again,
        )
        return results | dict(zip(prepared, imported, strict=True))

    def _commands(self, entry: Entry, ids: Mapping[str, UUID]) -> list[PostTransfer]:
        metadata = self._keys.told(entry)
        return [
            PostTransfer(
                ledger_id=self._ledger.id,
                client_id=CLIENT,
                idempotency_key="",  # each attempt has its own
                debit_account_id=ids[pair.debit],
                credit_account_id=ids[pair.credit],
                amount=pair.amount,
                currency=pair.currency,
                reference=entry.reference,
                description=entry.description,
                metadata=metadata,
                effective_at=entry.effective_at,
            )
            for pair in entry.pairs
        ]

    async def _look_up(self, references: set[str]) -> dict[str, UUID]:
        """Return the identifiers of the accounts with ``references``, as far as there are any. Some are remembered."""
        unknown = [reference for reference in references if reference not in self._ids]
        if unknown:
            self._ids |= await self._transactions.run(
                lambda session: Repositories(session).accounts.ids_by_references(self._ledger.id, unknown),
                writes=lambda _: False,
            )
        found = {reference: self._ids[reference] for reference in references if reference in self._ids}
        while len(self._ids) > _REFERENCES_KEPT_MAX:
            self._ids.popitem(last=False)
        return found


def _note(page: Page, results: Mapping[int, Imported | RefusedLine], tally: Tally, report: TextIO | None) -> None:
    """Count what became of ``page``."""
    for place, entry in enumerate(page):
        result = entry if isinstance(entry, RefusedLine) else results[place]
        tally.last_line = entry.line
        if isinstance(result, RefusedLine):
            refuse(result, tally, report)
        elif result.rejection is not None:
            number = entry.number if isinstance(entry, Entry) else None
            refuse(RefusedLine(entry.line, number, result.rejection.code, _reason(result)), tally, report)
        elif result.replayed:
            tally.already_there += 1
        else:
            tally.made += 1
    if report is not None:
        report.flush()


def _reason(result: Imported) -> str:
    rejection = result.rejection
    assert rejection is not None, "asked for before"
    if isinstance(rejection, IdempotencyKeyReused):
        return (
            "Another entry with this number has been imported, which says something else: correct it with a transfer of"
            f" its own, or name the source with --source if it is another one. {rejection.detail}"
        )
    if result.replayed:
        return f"{rejection.detail} An earlier import was told so; --again has it decided again."
    return rejection.detail
