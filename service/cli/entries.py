"""Reading entries from a file, one at a time: transfers or postings in CSV, objects in JSON lines."""

from collections.abc import Iterator, Mapping, Sequence

from service.cli.entry_objects import read_objects
from service.cli.entry_values import (
    Fields,
    entry_of,
    opening_of,
    posting_of,
    refused_line,
    transfer_of,
)
from service.cli.layouts import FIELDS, METADATA, Layout
from service.cli.records import (
    MALFORMED,
    SAVE_AS_UTF8,
    Format,
    RefusedLine,
    Row,
    Source,
    check_beginning,
    csv_rows,
    is_utf8,
)
from service.domain.texts import name_fault
from service.errors import EntryError, HeaderError
from service.journals.entries import POSTINGS_MAX, Entry, pairs_of
from service.wire.errors import MalformedError

_NAME_SHOWN_MAX = 64
_TRANSFER_COLUMNS = ("debit_account", "credit_account", "amount")


def read_entries(
    source: Source, form: Format, layout: Layout, *, formance: bool = False
) -> Iterator[Entry | RefusedLine]:
    """Return the entries of ``source``, in order. Raises UnreadableFileError, before any entry is read."""
    check_beginning(source.beginning(), form)
    if form == "jsonl":
        return read_objects(source, layout, formance=formance)
    header, rows = csv_rows(source, delimiter=layout.delimiter)
    columns = _columns(header, layout)
    if layout.opening_account is not None or "account" not in columns:
        return _from_rows(rows, columns, layout)
    return _from_postings(rows, columns, layout)


def _columns(header: Sequence[str], layout: Layout) -> list[str | None]:
    """Return the field of every column, None for one that is ignored. Raises HeaderError unless they are known,
    distinct and name what every entry needs.
    """
    fields = {header_of: field for field, header_of in layout.columns.items()}
    columns = [_field(place, name.strip(), fields, layout) for place, name in enumerate(header, 1)]
    known = [column for column in columns if column is not None]
    for column in known:
        if known.count(column) > 1:
            raise HeaderError(f"The column {column!r} is there more than once.")
    missing = [field for field in _needed(known, layout) if field not in known]
    if missing:
        name = layout.columns.get(missing[0], missing[0])
        raise HeaderError(
            f"The first line must name the columns, and the column {name!r} is missing; where it has another name, say"
            f" --column {missing[0]}=NAME."
        )
    return columns


def _needed(known: Sequence[str], layout: Layout) -> list[str]:
    currency = [] if layout.currency is not None else ["currency"]
    if layout.opening_account is not None:
        return ["account", *_amounts(known), *currency]
    if "account" in known or "account" in layout.columns:
        return ["account", "number", *_amounts(known), *currency]
    return [*_TRANSFER_COLUMNS, *currency]


def _amounts(known: Sequence[str]) -> list[str]:
    return ["debit", "credit"] if "debit" in known or "credit" in known else ["amount"]


def _field(place: int, name: str, fields: Mapping[str, str], layout: Layout) -> str | None:
    if name in fields:
        return fields[name]
    shown = repr(name[:_NAME_SHOWN_MAX])
    if not is_utf8(name):
        raise HeaderError(f"The first line is not UTF-8, in {shown}: {SAVE_AS_UTF8}.")
    if name in FIELDS and name not in layout.columns:
        return name
    if name.startswith(METADATA) and not layout.ignore_columns:
        reason = name_fault(name.removeprefix(METADATA))
        if reason is not None:
            raise HeaderError(f"The column {shown} cannot be a name in metadata: {reason}.")
        return name
    if layout.ignore_columns:
        return None
    if not name:
        raise HeaderError(f"Column {place} of the first line has no name: name it, or delete the column.")
    other = next((sign for sign in ";\t|," if sign in name and sign != layout.delimiter), None)
    if other is not None:
        raise HeaderError(f"The columns seem to be separated by {other!r}, in {shown}: say --delimiter.")
    raise HeaderError(
        f"There is no column {shown}; the columns are {', '.join(FIELDS)} and metadata.NAME. Say --column FIELD=NAME"
        " for one of another name, and --ignore-columns to ignore the others."
    )


def _from_rows(
    rows: Iterator[Row | RefusedLine], columns: Sequence[str | None], layout: Layout
) -> Iterator[Entry | RefusedLine]:
    """Yield an entry a row: a transfer, or a balance."""
    for row in rows:
        if isinstance(row, RefusedLine):
            yield row
            continue
        fields: Fields = {}
        try:
            fields = _fields(row, columns)
            pairs = [transfer_of(fields, layout)] if layout.opening_account is None else opening_of(fields, layout)
            yield entry_of(row.number, fields, pairs, layout)
        except (EntryError, MalformedError) as error:
            yield refused_line(row.number, fields.get("number"), error)


def _from_postings(
    rows: Iterator[Row | RefusedLine], columns: Sequence[str | None], layout: Layout
) -> Iterator[Entry | RefusedLine]:
    """Yield an entry for every run of rows with the same number. One of them that cannot be read refuses all."""
    entry: _Postings | None = None
    for row in rows:
        if isinstance(row, RefusedLine):
            if entry is not None:
                yield entry.read(layout)
            entry = None
            yield row
            continue
        try:
            fields = _fields(row, columns)
        except MalformedError as error:
            if entry is not None:
                yield entry.read(layout)
            entry = None
            yield refused_line(row.number, None, error)
            continue
        number = fields.get("number")
        if entry is None or not (number == entry.number or (number is None and layout.continued)):
            if entry is not None:
                yield entry.read(layout)
            entry = _Postings(row.number, number)
        entry.add(row.number, fields)
    if entry is not None:
        yield entry.read(layout)


class _Postings:
    """The rows of one entry; no more than POSTINGS_MAX of them are kept."""

    def __init__(self, line: int, number: str | None) -> None:
        self.number = number
        self._line = line
        self._rows: list[tuple[int, Fields]] = []
        self._count = 0

    def add(self, line: int, fields: Fields) -> None:
        self._count += 1
        if self._count <= POSTINGS_MAX:
            self._rows.append((line, fields))

    def read(self, layout: Layout) -> Entry | RefusedLine:
        """Return the entry, or why there is none and on which line."""
        if self.number is None:
            return self._refused(self._line, "number: the row does not say to which entry it belongs")
        if self._count > POSTINGS_MAX:
            return self._refused(self._line, f"the entry has {self._count} postings, more than {POSTINGS_MAX}")
        postings = []
        for line, fields in self._rows:
            try:
                postings.append(posting_of(fields, layout))
            except EntryError as error:
                return self._refused(line, str(error))
        try:
            return entry_of(self._line, self._rows[0][1], pairs_of(postings), layout)
        except (EntryError, MalformedError) as error:
            return refused_line(self._line, self.number, error)

    def _refused(self, line: int, reason: str) -> RefusedLine:
        return RefusedLine(line, self.number, MALFORMED, reason)


def _fields(row: Row, columns: Sequence[str | None]) -> Fields:
    """Return what the cells of ``row`` say; an empty one says nothing. Raises MalformedError."""
    if len(row.cells) != len(columns):
        raise MalformedError("", f"{len(row.cells)} cells for {len(columns)} columns")
    fields: dict[str, str] = {}
    for column, cell in zip(columns, row.cells, strict=True):
        if column is not None and cell.strip():
            if not is_utf8(cell):
                raise MalformedError(f"/{column}", f"not UTF-8; {SAVE_AS_UTF8}")
            fields[column] = cell if column.startswith(METADATA) or column == "description" else cell.strip()
    return fields
