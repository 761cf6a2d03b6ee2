"""Reading accounts from a file, a record at a time. No more than one record is in memory."""

import re
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
from msgspec import Struct

from service.cli.records import (
    MALFORMED,
    SAVE_AS_UTF8,
    Format,
    RefusedLine,
    Source,
    check_beginning,
    csv_rows,
    is_utf8,
    json_lines,
)
from service.domain.texts import name_fault
from service.errors import HeaderError
from service.wire import faults
from service.wire.accounts import AccountRequest
from service.wire.decoding import decode
from service.wire.errors import MalformedError
from service.wire.expectations import expectation_at
from service.wire.values import checked

_METADATA = "metadata."
_REQUIRED_COLUMNS = ("reference", "currency")
_INTEGER_COLUMNS = ("minimum_balance", "maximum_balance")
_PLAIN_COLUMNS = frozenset(AccountRequest.__struct_fields__) - {"metadata"}
_INTEGER = re.compile(r"-?[0-9]{1,40}", re.ASCII)
_NAME_SHOWN_MAX = 64
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class Line(Struct, frozen=True):
    """An account to open, and the number of the line on which its record begins."""

    number: int
    request: AccountRequest


def read_lines(source: Source, form: Format) -> Iterator[Line | RefusedLine]:
    """Return the records of ``source``, in order. Raises UnreadableFileError, before any record is read."""
    check_beginning(source.beginning(), form)
    if form == "jsonl":
        return _from_json(source)
    header, rows = csv_rows(source)
    columns = _columns(header)
    return (
        row if isinstance(row, RefusedLine) else _checked(row.number, partial(_from_cells, columns, row.cells))
        for row in rows
    )


def _from_json(source: Source) -> Iterator[Line | RefusedLine]:
    decoder = msgspec.json.Decoder(AccountRequest)
    for line in json_lines(source):
        if isinstance(line, RefusedLine):
            yield line
        else:
            yield _checked(line.number, partial(decode, decoder, line.text))


def _columns(columns: list[str]) -> list[str]:
    """Return the column names. Raises HeaderError unless they are known, distinct and name what every account needs."""
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
    if not is_utf8(column):
        return f"The first line is not UTF-8, in {shown}: {SAVE_AS_UTF8}."
    separator = next((name for sign, name in _SEPARATORS.items() if sign in column), None)
    if separator is not None:
        return f"The columns are separated by {separator}, in {shown}: separate them by commas."
    name = column.removeprefix(_METADATA)
    if name and name != column:
        reason = name_fault(name)
        return reason and f"The column {shown} cannot be a name in metadata: {reason}."
    known = ", ".join(name for name in AccountRequest.__struct_fields__ if name in _PLAIN_COLUMNS)
    return f"There is no column {shown}; the columns are {known} and metadata.NAME."


def _from_cells(columns: list[str], cells: list[str]) -> AccountRequest:
    """Return the account in ``cells``; an empty cell says nothing. Raises MalformedError."""
    if len(cells) != len(columns):
        raise MalformedError("", f"{len(cells)} cells for {len(columns)} columns")
    fields: dict[str, object] = {}
    metadata: dict[str, str] = {}
    for column, cell in zip(columns, cells, strict=True):
        if not is_utf8(cell):
            raise MalformedError(f"/{column}", f"not UTF-8; {SAVE_AS_UTF8}")
        if not cell:
            continue
        if column.startswith(_METADATA):
            metadata[column.removeprefix(_METADATA)] = cell
        elif column in _INTEGER_COLUMNS:
            if not _INTEGER.fullmatch(cell):
                raise MalformedError(f"/{column}", f"this must be {expectation_at(AccountRequest, [column])}")
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
    except MalformedError as error:
        member = error.pointer.removeprefix("/")
        return RefusedLine(number, None, MALFORMED, f"{member}: {error.reason}" if member else error.reason)
    if request.reference is None:
        reason = "reference: an import needs one, to know the account again"
        return RefusedLine(number, None, MALFORMED, reason)
    return Line(number, request)
