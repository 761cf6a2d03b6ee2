"""Statements of accounts as workbooks of spreadsheets."""

from collections.abc import Iterable, Sequence
from typing import BinaryIO

from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.domain.statements import Line
from service.journals.statements import COLUMNS, Row, WholeStatement, closing_rows, line_row, opening_row
from service.journals.tables import Workbook

_CHUNK_BYTES = 1 << 16


class WorkbookStatement:
    """A statement as a workbook, which is written into ``file`` row by row and read from there at the end."""

    def __init__(self, whole: WholeStatement, file: BinaryIO) -> None:
        self._whole = whole
        self._file = file
        self._exponent = MINOR_UNIT_EXPONENTS.get(whole.statement.account.currency, 0)
        self._workbook = Workbook(COLUMNS, file)

    def begin(self) -> bytes:
        """Write the opening balance."""
        self._write(opening_row(self._whole))
        return b""

    def add(self, lines: Sequence[Line]) -> bytes:
        """Write a row for each of ``lines``."""
        for line in lines:
            self._write(line_row(self._whole, line))
        return b""

    def end(self) -> Iterable[bytes]:
        """Return the workbook."""
        for row in closing_rows(self._whole):
            self._write(row)
        self._workbook.close()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Close the workbook."""
        self._workbook.close()

    def _write(self, row: Row) -> None:
        self._workbook.write(row.cells, self._exponent)
