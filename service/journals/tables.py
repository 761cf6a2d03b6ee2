"""Tables as files: comma-separated values (RFC 4180) and workbooks of spreadsheets (Office Open XML, XLSX)."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from msgspec import Struct

Cells = Mapping[str, str | int | None]
"""A row: its cells by column, None or nothing for an empty one; whole numbers, and exact decimals as text."""

ROWS_MAX = 1_000_000
"""The most rows of one sheet; a spreadsheet has 1,048,576. The rest stands on further sheets."""
_EXACT_BELOW = 10**15
"""Spreadsheets keep 15 digits of a number. What has more is written as a text."""

# What makes a spreadsheet take a text for a formula (OWASP, "CSV Injection"), full-width forms too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Columns(Struct, frozen=True):
    """The names of the columns of a table; which of them are ``numbers``, and of these which are ``decimals``."""

    names: tuple[str, ...]
    numbers: frozenset[str]
    decimals: frozenset[str]


def csv_heading(columns: Columns) -> bytes:
    """Return the first line of a table."""
    return ",".join(columns.names).encode() + b"\r\n"


def csv_rows(columns: Columns, rows: Iterable[Cells]) -> bytes:
    """Return ``rows`` as lines in UTF-8."""
    written = io.StringIO()
    writer = csv.writer(written)
    for row in rows:
        writer.writerow(_cell(columns, name, row.get(name)) for name in columns.names)
    return written.getvalue().encode()


def _cell(columns: Columns, name: str, value: str | int | None) -> str | int | None:
    """Return a cell that no spreadsheet takes for a formula: an apostrophe stands before a text that it might."""
    if isinstance(value, str) and name not in columns.numbers and value.startswith(_FORMULA):
        return f"'{value}"
    return value


class Workbook:
    """A table as a workbook, which is written into ``file`` row by row: its rows are never in memory together. No text
    in it is a formula or a link.
    """

    def __init__(self, columns: Columns, file: BinaryIO) -> None:
        import xlsxwriter  # noqa: PLC0415 - few processes write a workbook

        self._columns = columns
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self._workbook = xlsxwriter.Workbook(file, options)
        self._formats: dict[int, object] = {}
        self._next_sheet()

    def write(self, row: Cells, exponent: int) -> None:
        """Write ``row``, whose decimals have ``exponent`` digits behind the point."""
        if self._row == ROWS_MAX:
            self._next_sheet()
        self._row += 1
        for place, name in enumerate(self._columns.names):
            value = row.get(name)
            if value is None:
                continue
            if name in self._columns.numbers and abs(int(str(value).replace(".", ""))) < _EXACT_BELOW:
                style = self._format(exponent) if name in self._columns.decimals else None
                self._sheet.write_number(self._row, place, float(value), style)
            else:
                self._sheet.write_string(self._row, place, str(value))

    def close(self) -> None:
        """Write the end of the workbook, if that is not done yet; its sheets are temporary files until then."""
        if not self._workbook.fileclosed:
            self._workbook.close()

    def _next_sheet(self) -> None:
        self._sheet = self._workbook.add_worksheet()
        self._row = 0
        for place, name in enumerate(self._columns.names):
            self._sheet.write_string(0, place, name)

    def _format(self, exponent: int) -> object:
        if exponent not in self._formats:
            digits = f"0.{'0' * exponent}" if exponent else "0"
            self._formats[exponent] = self._workbook.add_format({"num_format": digits})
        return self._formats[exponent]
