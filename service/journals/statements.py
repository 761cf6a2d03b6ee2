"""Statements of accounts as files: what their formats have in common, and as comma-separated values."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.domain.statements import Line, Statement
from service.journals.amounts import decimal_text
from service.journals.tables import Columns, csv_heading, csv_rows
from service.journals.writing import instant

_NAMES = (
    "kind",
    "log_index",
    "transfer_id",
    "version",
    "recorded_at",
    "value_date",
    "requested_value_date",
    "counterparty_id",
    "counterparty_reference",
    "counterparty_name",
    "currency",
    "amount",
    "balance",
    "amount_minor",
    "balance_minor",
    "reference",
    "description",
    "hold_id",
    "reverses_id",
    "client",
)
COLUMNS = Columns(
    names=_NAMES,
    numbers=frozenset({"log_index", "version", "amount", "balance", "amount_minor", "balance_minor"}),
    decimals=frozenset({"amount", "balance"}),
)


class Proof(Struct, frozen=True):
    """The size and the root of the checkpoint of the ledger's log that proves the lines of a statement."""

    size: int
    root: bytes

    @property
    def root_text(self) -> str:
        """The root as the note of the checkpoint has it."""
        return b64encode(self.root).decode()


class WholeStatement(Struct, frozen=True):
    """A statement of ``ledger`` as it is written into a file at ``made_at``: all of its lines."""

    ledger: str
    statement: Statement
    proof: Proof | None
    made_at: datetime


class StatementFile(Protocol):
    """Writes one statement, a part at a time."""

    def begin(self) -> bytes:
        """Return what stands before the lines."""

    def add(self, lines: Sequence[Line]) -> bytes:
        """Return the next lines."""

    def end(self) -> Iterable[bytes]:
        """Return, in parts, what stands behind the lines."""

    def close(self) -> None:
        """Give back what the writing took; also of a file that was not ended."""


class Row(Struct, frozen=True):
    """A row of a table: a cell for each of COLUMNS, None for an empty one; whole numbers and exact decimals as text."""

    cells: dict[str, str | int | None]


def opening_row(whole: WholeStatement) -> Row:
    """Return the row of the balance before the period."""
    return _balance_row(whole, "opening", whole.statement.period.start, whole.statement.opening)


def closing_rows(whole: WholeStatement) -> Iterator[Row]:
    """Return the row of the balance at the end of the period, and that of the proof."""
    yield _balance_row(whole, "closing", whole.statement.period.end, whole.statement.closing)
    if whole.proof is not None:
        root = f"log size {whole.proof.size}, root {whole.proof.root_text}"
        yield Row({"kind": "checkpoint", "log_index": whole.proof.size, "description": root})


def line_row(whole: WholeStatement, line: Line) -> Row:
    """Return the row of ``line``."""
    transfer, currency = line.transfer, whole.statement.account.currency
    return Row(
        {
            "kind": "line",
            "log_index": line.log_index,
            "transfer_id": str(transfer.id),
            "version": line.version,
            "recorded_at": instant(transfer.created_at),
            "value_date": instant(transfer.effective_at),
            "requested_value_date": None
            if transfer.requested_effective_at is None
            else instant(transfer.requested_effective_at),
            "counterparty_id": str(line.counterparty_id),
            "counterparty_reference": line.counterparty_reference,
            "counterparty_name": line.counterparty_name,
            "currency": currency,
            "amount": major_units(line.amount, currency),
            "balance": major_units(line.balance, currency),
            "amount_minor": line.amount,
            "balance_minor": line.balance,
            "reference": transfer.reference,
            "description": transfer.description,
            "hold_id": None if transfer.hold_id is None else str(transfer.hold_id),
            "reverses_id": None if transfer.reverses_id is None else str(transfer.reverses_id),
            "client": transfer.client_id,
        }
    )


def _balance_row(whole: WholeStatement, kind: str, time: datetime, balance: int) -> Row:
    account = whole.statement.account
    return Row(
        {
            "kind": kind,
            {"recorded": "recorded_at", "value": "value_date"}[whole.statement.axis]: instant(time),
            "currency": account.currency,
            "balance": major_units(balance, account.currency),
            "balance_minor": balance,
            "reference": account.reference,
            "description": account.name,
        }
    )


def major_units(amount: int, currency: str) -> str | None:
    """Return ``amount`` with a decimal point; None for a currency that was withdrawn, whose exponent is not known."""
    exponent = MINOR_UNIT_EXPONENTS.get(currency)
    return None if exponent is None else decimal_text(amount, exponent)


class CsvStatement:
    """A statement as comma-separated values (RFC 4180) in UTF-8: opening, lines, closing, checkpoint."""

    def __init__(self, whole: WholeStatement) -> None:
        self._whole = whole

    def begin(self) -> bytes:
        """Return the names of the columns and the opening balance."""
        return csv_heading(COLUMNS) + _csv([opening_row(self._whole)])

    def add(self, lines: Sequence[Line]) -> bytes:
        """Return a row for each of ``lines``."""
        return _csv(line_row(self._whole, line) for line in lines)

    def end(self) -> Iterable[bytes]:
        """Return the closing balance and the checkpoint."""
        yield _csv(closing_rows(self._whole))

    def close(self) -> None:
        """Nothing was taken."""


def _csv(rows: Iterable[Row]) -> bytes:
    return csv_rows(COLUMNS, (row.cells for row in rows))
