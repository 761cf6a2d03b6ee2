"""Reading accounts from a file, a record at a time: CSV or JSON lines. No more than one record is in memory."""

import csv
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

from service.api.problems import ProblemError, malformed
from service.api.schemas import AccountRequest
from service.api.values import checked
from service.api.wire import decode, fault

Format = Literal["csv", "jsonl"]

_MALFORMED = "malformed_request"
_METADATA = "metadata."
_REQUIRED_COLUMNS = ("reference", "currency")
_INTEGER_COLUMNS = ("minimum_balance", "maximum_balance")
_PLAIN_COLUMNS = frozenset(AccountRequest.__struct_fields__) - {"metadata"}
_INTEGER = re.compile(r"-?[0-9]{1,40}", re.ASCII)
_NAME_SHOWN_MAX = 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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


class HeaderError(Exception):
    """The first line of a CSV file does not name the columns of accounts; the message is one sentence."""


class RecordTooLongError(Exception):
    """A record has more bytes than a request to the API may have."""


class Source:
    """The physical lines of ``stream``, counted. None longer than ``bytes_max`` gets into memory."""

    def __init__(self, stream: BinaryIO, bytes_max: int) -> None:
        self._stream = stream
        self.bytes_max = bytes_max
        self.bytes_read = 0
        self.number = 0

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
        line = self._stream.readline(self.bytes_max + 1)
        self.bytes_read += len(line)
        return line


def read_lines(source: Source, form: Format) -> Iterator[Line | RefusedLine]:
    """Return the records of ``source``, in order. Raises HeaderError, before any record is read."""
    if form == "jsonl":
        return _json_lines(source)
    feed = _CsvLines(source)
    reader = csv.reader(feed, strict=True)
    return _csv_lines(source, feed, reader, _columns(reader))


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
            yield RefusedLine(number, None, _MALFORMED, f"not valid CSV: {error}{until}")
            continue
        if cells:
            yield _checked(number, lambda cells=cells: _from_cells(columns, cells))  # type: ignore[misc]


def _columns(reader: Iterator[list[str]]) -> list[str]:
    """Return the column names. Raises HeaderError unless they are known, distinct and name what every account needs."""
    try:
        columns = next(reader, [])
    except (csv.Error, RecordTooLongError) as error:
        raise HeaderError("The first line is no CSV header.") from error
    for column in columns:
        if column not in _PLAIN_COLUMNS and not (column.startswith(_METADATA) and column != _METADATA):
            known = ", ".join(name for name in AccountRequest.__struct_fields__ if name in _PLAIN_COLUMNS)
            raise HeaderError(
                f"There is no column {column[:_NAME_SHOWN_MAX]!r}; the columns are {known} and metadata.NAME."
            )
        if columns.count(column) > 1:
            raise HeaderError(f"The column {column!r} is there more than once.")
    for column in _REQUIRED_COLUMNS:
        if column not in columns:
            raise HeaderError(f"The first line must name the columns, and the column {column!r} is missing.")
    return columns


def _from_cells(columns: list[str], cells: list[str]) -> AccountRequest:
    """Return the account in ``cells``; an empty cell says nothing. Raises ProblemError."""
    if len(cells) != len(columns):
        raise malformed("", f"{len(cells)} cells for {len(columns)} columns")
    fields: dict[str, object] = {}
    metadata: dict[str, str] = {}
    for column, cell in zip(columns, cells, strict=True):
        if not cell.isascii() and any("\udc80" <= character <= "\udcff" for character in cell):
            raise malformed(f"/{column}", "not UTF-8")
        if not cell:
            continue
        if column.startswith(_METADATA):
            metadata[column.removeprefix(_METADATA)] = cell
        elif column in _INTEGER_COLUMNS and _INTEGER.fullmatch(cell):
            fields[column] = int(cell)
        else:
            fields[column] = cell
    try:
        return checked(AccountRequest, msgspec.convert(fields | {"metadata": metadata}, AccountRequest))
    except msgspec.ValidationError as error:
        raise fault(str(error)) from None


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
