"""Reading records from a file, one at a time: CSV or JSON lines. No more than one of them is in memory."""

import csv
import re
from collections.abc import Iterator
from typing import BinaryIO, Literal

from msgspec import Struct

from service.errors import HeaderError, RecordTooLongError, UnreadableFileError

Format = Literal["csv", "jsonl"]

MALFORMED = "malformed_request"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UNIT_BYTES_MAX = 4
SAVE_AS_UTF8 = "save the file as UTF-8 (in Excel: CSV UTF-8)"
_WIDE = f"The file is UTF-16 or UTF-32, not UTF-8: {SAVE_AS_UTF8}."
_WORKBOOK = f"The file is a workbook, not text: {SAVE_AS_UTF8}."
_PACKED = "The file is compressed: unpack it first."
_SIGNATURES = {
    b"\xff\xfe": _WIDE,
    b"\xfe\xff": _WIDE,
    b"PK\x03\x04": _WORKBOOK,
    b"\xd0\xcf\x11\xe0": _WORKBOOK,
    b"\x1f\x8b": _PACKED,
    b"\x28\xb5\x2f\xfd": _PACKED,
}
_OBJECTS_BY_RETURN = re.compile(rb"\}[ \t]*\r[ \t\r]*\{")


class Row(Struct, frozen=True):
    """The cells of a CSV record, and the number of the line on which it begins."""

    number: int
    cells: list[str]


class JsonLine(Struct, frozen=True):
    """A JSON text, and the number of its line."""

    number: int
    text: bytes


class RefusedLine(Struct, frozen=True):
    """A record of which nothing is made, and why. ``reference`` is what the file calls it, where that is known."""

    line: int
    reference: str | None
    code: str
    reason: str


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


def check_beginning(beginning: bytes, form: Format) -> None:
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


def json_lines(source: Source) -> Iterator[JsonLine | RefusedLine]:
    """Yield the lines of ``source`` that are not blank."""
    while True:
        try:
            line = source.read_line()
        except RecordTooLongError:
            yield _too_long(source.number, source)
            continue
        if not line:
            return
        if line.strip():
            yield JsonLine(source.number, line)


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


def csv_rows(source: Source, *, delimiter: str = ",") -> tuple[list[str], Iterator[Row | RefusedLine]]:
    """Return the cells of the first row, and the rows that follow, without those of nothing but empty cells.

    Raises HeaderError when the first row is no CSV.
    """
    feed = _CsvLines(source)
    reader = csv.reader(feed, strict=True, delimiter=delimiter)
    try:
        header = next(reader, [])
    except (csv.Error, RecordTooLongError) as error:
        raise HeaderError("The first line is no CSV header.") from error
    return header, _rows(source, feed, reader)


def _rows(source: Source, feed: _CsvLines, reader: Iterator[list[str]]) -> Iterator[Row | RefusedLine]:
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
            yield RefusedLine(number, None, MALFORMED, f"not valid CSV: {_csv_reason(error)}{until}")
            continue
        if cells and not any(cells):
            source.rows_empty += 1
        elif cells:
            yield Row(number, cells)


def _csv_reason(error: csv.Error) -> str:
    """Return the reader's message, without its advice to programmers."""
    if "new-line" in str(error):
        return "a carriage return in a cell without quotation marks; lines end in LF or CR LF"
    return str(error)


def is_utf8(text: str) -> bool:
    """Whether ``text`` has no byte that was none of UTF-8, as ``surrogateescape`` keeps them."""
    return text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text)


def _too_long(number: int, source: Source) -> RefusedLine:
    reason = f"longer than {source.bytes_max} bytes, in the lines up to {source.number}"
    return RefusedLine(number, None, MALFORMED, reason)
