"""Trial balances as files: a row for each account, and one for what each currency comes to."""

from collections.abc import Iterable
from typing import BinaryIO, Protocol

from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.domain.trial_balances import Totals, TrialBalanceLine, TrialBalanceOf
from service.journals.statements import major_units
from service.journals.tables import Cells, Columns, Workbook, csv_heading, csv_rows
from service.journals.writing import instant

COLUMNS = Columns(
    names=(
        "kind",
        "currency",
        "account_id",
        "reference",
        "code",
        "name",
        "normal_side",
        "debit",
        "credit",
        "debit_minor",
        "credit_minor",
        "account_count",
        "as_of",
        "known_at",
    ),
    numbers=frozenset({"debit", "credit", "debit_minor", "credit_minor", "account_count"}),
    decimals=frozenset({"debit", "credit"}),
)


class TrialBalanceFile(Protocol):
    """Takes a trial balance row by row."""

    def add(self, rows: Iterable[Cells]) -> None:
        """Write ``rows``."""

    def close(self) -> None:
        """Write the end; also of a file that was not finished."""


class CsvTrialBalance:
    """A trial balance as comma-separated values in UTF-8, written into ``file``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.write(csv_heading(COLUMNS))

    def add(self, rows: Iterable[Cells]) -> None:
        """Write ``rows``."""
        self._file.write(csv_rows(COLUMNS, rows))

    def close(self) -> None:
        """Nothing is left to write."""


class WorkbookTrialBalance:
    """A trial balance as a workbook, written into ``file``."""

    def __init__(self, file: BinaryIO) -> None:
        self._workbook = Workbook(COLUMNS, file)

    def add(self, rows: Iterable[Cells]) -> None:
        """Write ``rows``."""
        for row in rows:
            self._workbook.write(row, MINOR_UNIT_EXPONENTS.get(str(row["currency"]), 0))

    def close(self) -> None:
        """Write the end of the workbook."""
        self._workbook.close()


def line_cells(line: TrialBalanceLine) -> Cells:
    """Return the row of ``line``."""
    account = line.account
    return {
        "kind": "account",
        "currency": account.currency,
        "account_id": str(account.id),
        "reference": account.reference,
        "code": account.code,
        "name": account.name,
        "normal_side": account.normal_side,
        "debit": major_units(line.debit_balance, account.currency),
        "credit": major_units(line.credit_balance, account.currency),
        "debit_minor": line.debit_balance,
        "credit_minor": line.credit_balance,
    }


def totals_cells(totals: Totals, asked: TrialBalanceOf) -> Cells:
    """Return the row of ``totals``, which says also of which times they are."""
    return {
        "kind": "total",
        "currency": totals.currency,
        "code": asked.code,
        "debit": major_units(totals.debit_balances, totals.currency),
        "credit": major_units(totals.credit_balances, totals.currency),
        "debit_minor": totals.debit_balances,
        "credit_minor": totals.credit_balances,
        "account_count": totals.account_count,
        "as_of": instant(asked.as_of),
        "known_at": instant(asked.known_at),
    }
