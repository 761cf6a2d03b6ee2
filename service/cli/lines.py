"""Reading accounts from a file, a record at a time: CSV or JSON lines. No more than one record is in memory."""

import csv
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

from service.api import faults
from service.api.expectations import expectation_at
from service.api.problems import ProblemError, malformed
from service.api.schemas import AccountRequest
from service.api.values import checked
from service.api.wire import decode
from service.domain.texts import name_fault

Format = Literal["csv", "jsonl"]

_MALFORMED = "malformed_request"
_METADATA = "metadata."
_REQUIRED_COLUMNS = ("reference", "currency")
_INTEGER_COLUMNS = ("minimum_balance", "maximum_balance")
_PLAIN_COLUMNS = frozenset(AccountRequest.__struct_fields__) - {"metadata"}
_INTEGER = re.compile(r"-?[0-9]{1,40}", re.ASCII)
_NAME_SHOWN_MAX = 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UNIT_BYTES_MAX = 4
_SAVE_AS_UTF8 = "save the file as UTF-8 (in Excel: CSV UTF-8)"
_WIDE = f"The file is UTF-16 or UTF-32, not UTF-8: {_SAVE_AS_UTF8}."
_WORKBOOK = f"The file is a workbook, not text: {_SAVE_AS_UTF8}."
_PACKED = "The file is compressed: unpack it first."
_SIGNATURES = {
    b"\xff\xfe": _WIDE,
    b"\xfe\xff": _WIDE,
    b"PK\x03\x04": _WORKBOOK,
    b"\xd0\xcf\x11\xe0": _WORKBOOK,
    b"\x1f\x8b": _PACKED,
    b"\x28\xb5\x2f\xfd": _PACKED,
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_OBJECTS_BY_RETURN = re.compile(rb"\}[ \t]*\r[ \t\r]*\{")


class Line(Struct, frozen=True):
    """An account to open, and the number of the line on which its record begins."""

    number: int
    request: AccountRequest


class RefusedLine(Struct, frozen=True):
    """A record that opens no account, and why."""

    line: int
    reference: str | None
    code: str
    reason: str


class UnreadableFileError(Exception):
    """A file does not begin like one of accounts; the message says in a sentence what it is and what to do."""


class HeaderError(UnreadableFileError):
    """The first line of a CSV file does not name the columns of accounts; the message is one sentence."""


class RecordTooLongError(Exception):
    """A record has more bytes than a request to the API may have."""


class Source:
    """The physical lines of ``stream``, counted. None longer than ``bytes_max`` gets into memory.

    ``rows_empty`` counts the rows of a CSV file whose cells are all empty: spreadsheets leave them behind.
    """

    def __init__(self, stream: BinaryIO, bytes_max: int) -> None:
        self._stream = stream
        self._ahead: bytes | None = None
        self.bytes_max = bytes_max
        self.bytes_read = 0
        self.number = 0
        self.rows_empty = 0

    def beginning(self) -> bytes:
        """Return the first line, or as much of it as gets into memory; it is still to be read."""
        if self._ahead is None:
            self._ahead = self._stream.readline(self.bytes_max + 1)
        return self._ahead

    def read_line(self) -> bytes:
        """Return the next line with its end, nothing at the end of the stream. Raises RecordTooLongError."""
        line = self._read()
        if line:
            self.number += 1
        if len(line) <= self.bytes_max or line.endswith(b"\n"):
            return line.removeprefix(_BYTE_ORDER_MARK) if self.number == 1 else line
        while line and not line.endswith(b"\n"):
            line = self._read()
        raise RecordTooLongError

    def _read(self) -> bytes:
        line = self._stream.readline(self.bytes_max + 1) if self._ahead is None else self._ahead
        self._ahead = None
        self.bytes_read += len(line)
        return line


def read_lines(source: Source, form: Format) -> Iterator[Line | RefusedLine]:
    """Return the records of ``source``, in order. Raises UnreadableFileError, before any record is read."""
    _check_beginning(source.beginning(), form)
    if form == "jsonl":
        return _json_lines(source)
    feed = _CsvLines(source)
    reader = csv.reader(feed, strict=True)
    return _csv_lines(source, feed, reader, _columns(reader))


def _check_beginning(beginning: bytes, form: Format) -> None:
    """Check that a file is text in UTF-8 with lines. Raises UnreadableFileError that says what it is instead."""
    for signature, sentence in _SIGNATURES.items():
        if beginning.startswith(signature):
            raise UnreadableFileError(sentence)
    if b"\0" in beginning[:_UNIT_BYTES_MAX]:  # half of an ASCII character, or three quarters
        raise UnreadableFileError(_WIDE)
    first_line = beginning.removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r\n")
    if (form == "csv" and b"\r" in first_line) or (form == "jsonl" and _OBJECTS_BY_RETURN.search(first_line)):
        raise UnreadableFileError(
            "The lines end in a carriage return alone, as on old Macs: save the file with line ends of LF or CR LF."
        )
    if form == "jsonl" and first_line.lstrip().startswith(b"["):
        raise UnreadableFileError(
            "The file is a JSON array: write one object a line, without brackets and commas around."
        )


def _json_lines(source: Source) -> Iterator[Line | RefusedLine]:
    decoder = msgspec.json.Decoder(AccountRequest)
    while True:
        try:
            line = source.read_line()
        except RecordTooLongError:
            yield _too_long(source.number, source)
            continue
        if not line:
            return
        if line.strip():
            yield _checked(source.number, lambda line=line: decode(decoder, line))  # type: ignore[misc]


class _CsvLines:
    """Feeds ``csv.reader``, and goes on after a record that was too long, as a generator could not."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._bytes_left = source.bytes_max

    def begin_record(self) -> None:
        """Give the next record its full length: an open quote must not swallow the rest of the file."""
        self._bytes_left = self._source.bytes_max

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._source.read_line()
        if not line:
            raise StopIteration
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise RecordTooLongError
        return line.decode(errors="surrogateescape")  # what is not UTF-8 is refused with its record


def _csv_lines(
    source: Source, feed: _CsvLines, reader: Iterator[list[str]], columns: list[str]
) -> Iterator[Line | RefusedLine]:
    while True:
        feed.begin_record()
        number = source.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except RecordTooLongError:
            yield _too_long(number, source)
            continue
        except csv.Error as error:
            until = f", in the lines up to {source.number}" if source.number > number else ""
            yield RefusedLine(number, None, _MALFORMED, f"not valid CSV: {_csv_reason(error)}{until}")
            continue
        if cells and not any(cells):
            source.rows_empty += 1
        elif cells:
            yield _checked(number, lambda cells=cells: _from_cells(columns, cells))  # type: ignore[misc]


def _csv_reason(error: csv.Error) -> str:
    """Return the reader's message, without its advice to programmers."""
    if "new-line" in str(error):
        return "a carriage return in a cell without quotation marks; lines end in LF or CR LF"
    return str(error)


def _columns(reader: Iterator[list[str]]) -> list[str]:
    """Return the column names. Raises HeaderError unless they are known, distinct and name what every account needs."""
    try:
        columns = next(reader, [])
    except (csv.Error, RecordTooLongError) as error:
        raise HeaderError("The first line is no CSV header.") from error
    for place, column in enumerate(columns, 1):
        fault = _column_fault(place, column)
        if fault is not None:
            raise HeaderError(fault)
        if columns.count(column) > 1:
            raise HeaderError(f"The column {column!r} is there more than once.")
    for column in _REQUIRED_COLUMNS:
        if column not in columns:
            raise HeaderError(f"The first line must name the columns, and the column {column!r} is missing.")
    return columns


def _column_fault(place: int, column: str) -> str | None:
    """Return in a sentence what is wrong with the name of column number ``place``; None when nothing is."""
    shown = repr(column[:_NAME_SHOWN_MAX])
    if column in _PLAIN_COLUMNS:
        return None
    if not column:
        return f"Column {place} of the first line has no name: name it, or delete the column."
    if not _is_utf8(column):
        return f"The first line is not UTF-8, in {shown}: {_SAVE_AS_UTF8}."
    separator = next((name for sign, name in _SEPARATORS.items() if sign in column), None)
    if separator is not None:
        return f"The columns are separated by {separator}, in {shown}: separate them by commas."
    name = column.removeprefix(_METADATA)
    if name and name != column:
        reason = name_fault(name)
        return reason and f"The column {shown} cannot be a name in metadata: {reason}."
    known = ", ".join(name for name in AccountRequest.__struct_fields__ if name in _PLAIN_COLUMNS)
    return f"There is no column {shown}; the columns are {known} and metadata.NAME."


def _is_utf8(text: str) -> bool:
    """Whether ``text`` has no byte that was none of UTF-8, as ``surrogateescape`` keeps them."""
    return text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text)


def _from_cells(columns: list[str], cells: list[str]) -> AccountRequest:
    """Return the account in ``cells``; an empty cell says nothing. Raises ProblemError."""
    if len(cells) != len(columns):
        raise malformed("", f"{len(cells)} cells for {len(columns)} columns")
    fields: dict[str, object] = {}
    metadata: dict[str, str] = {}
    for column, cell in zip(columns, cells, strict=True):
        if not _is_utf8(cell):
            raise malformed(f"/{column}", f"not UTF-8; {_SAVE_AS_UTF8}")
        if not cell:
            continue
        if column.startswith(_METADATA):
            metadata[column.removeprefix(_METADATA)] = cell
        elif column in _INTEGER_COLUMNS:
            if not _INTEGER.fullmatch(cell):
                raise malformed(f"/{column}", f"this must be {expectation_at(AccountRequest, [column])}")
            fields[column] = int(cell)
        else:
            fields[column] = cell
    try:
        return checked(AccountRequest, msgspec.convert(fields | {"metadata": metadata}, AccountRequest))
    except msgspec.ValidationError as error:
        raise faults.of_content(error, AccountRequest) from None


def _checked(number: int, read: Callable[[], AccountRequest]) -> Line | RefusedLine:
    try:
        request = read()
    except ProblemError as problem:
        [error] = problem.members["errors"]
        pointer = error["pointer"].removeprefix("/")
        return RefusedLine(number, None, problem.code, f"{pointer}: {error['reason']}" if pointer else error["reason"])
    if request.reference is None:
        reason = "reference: an import needs one, to know the account again"
        return RefusedLine(number, None, _MALFORMED, reason)
    return Line(number, request)


def _too_long(number: int, source: Source) -> RefusedLine:
    reason = f"longer than {source.bytes_max} bytes, in the lines up to {source.number}"
    return RefusedLine(number, None, _MALFORMED, reason)
