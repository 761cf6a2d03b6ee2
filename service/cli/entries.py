"""Reading entries from a file, one at a time: transfers or postings in CSV, objects in JSON lines."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from service.cli.layouts import AMOUNT_FIELDS, ENTRY_FIELDS, FIELDS, METADATA, Layout
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
    json_lines,
)
from service.cli.times import read_day_or_time
from service.domain.limits import INT64_MAX
from service.domain.texts import name_fault
from service.errors import EntryError, HeaderError
from service.journals.amounts import minor_units, scaled, whole_number
from service.journals.entries import POSTINGS_MAX, Entry, Pair, Posting, pairs_of
from service.wire import faults
from service.wire.decoding import decode
from service.wire.errors import MalformedError
from service.wire.scalars import Description, Metadata, Reference
from service.wire.values import checked

_NAME_SHOWN_MAX = 64
_TRANSFER_COLUMNS = ("debit_account", "credit_account", "amount")
_CURRENCY_PREFIX = "CURRENCY::"  # GnuCash's

Fields = dict[str, str]
"""What a row says, by field."""


class _Head(Struct, kw_only=True, frozen=True):
    """What an entry says beside its postings, held to the rules of transfers."""

    number: Reference | None = None
    reference: Reference | None = None
    description: Description | None = None
    metadata: Metadata = {}


class _PostingObject(Struct, forbid_unknown_fields=True, frozen=True):
    account: str
    amount: int | str
    currency: str | None = None


class _EntryObject(Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    number: Reference | None = None
    effective_at: str | None = None
    reference: Reference | None = None
    description: Description | None = None
    metadata: Metadata = {}
    debit_account: str | None = None
    credit_account: str | None = None
    amount: int | str | None = None
    currency: str | None = None
    postings: list[_PostingObject] | None = None


class _FormancePosting(Struct, frozen=True):
    source: str
    destination: str
    amount: int
    asset: str


class _FormanceTransaction(Struct, frozen=True):
    id: int
    postings: list[_FormancePosting]
    timestamp: str
    reference: str | None = None
    metadata: dict[str, Any] = {}


def read_entries(
    source: Source, form: Format, layout: Layout, *, formance: bool = False
) -> Iterator[Entry | RefusedLine]:
    """Return the entries of ``source``, in order. Raises UnreadableFileError, before any entry is read."""
    check_beginning(source.beginning(), form)
    if form == "jsonl":
        return _from_json(source, layout, formance=formance)
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
            pairs = [_transfer(fields, layout)] if layout.opening_account is None else _opening(fields, layout)
            yield _entry(row.number, fields, pairs, layout)
        except (EntryError, MalformedError) as error:
            yield _refused(row.number, fields.get("number"), error)


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
            yield _refused(row.number, None, error)
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
                postings.append(_posting(fields, layout))
            except EntryError as error:
                return self._refused(line, str(error))
        try:
            return _entry(self._line, self._rows[0][1], pairs_of(postings), layout)
        except (EntryError, MalformedError) as error:
            return _refused(self._line, self.number, error)

    def _refused(self, line: int, reason: str) -> RefusedLine:
        return RefusedLine(line, self.number, MALFORMED, reason)


def _fields(row: Row, columns: Sequence[str | None]) -> Fields:
    """Return what the cells of ``row`` say; an empty one says nothing. Raises MalformedError."""
    if len(row.cells) != len(columns):
        raise MalformedError("", f"{len(row.cells)} cells for {len(columns)} columns")
    fields: Fields = {}
    for column, cell in zip(columns, row.cells, strict=True):
        if column is not None and cell.strip():
            if not is_utf8(cell):
                raise MalformedError(f"/{column}", f"not UTF-8; {SAVE_AS_UTF8}")
            fields[column] = cell if column.startswith(METADATA) or column == "description" else cell.strip()
    return fields


def _entry(line: int, fields: Fields, pairs: Sequence[Pair], layout: Layout) -> Entry:
    metadata = {name.removeprefix(METADATA): value for name, value in fields.items() if name.startswith(METADATA)}
    said = {name: fields[name] for name in ENTRY_FIELDS if name in fields and name != "effective_at"}
    try:
        head = checked(_Head, msgspec.convert(said | {"metadata": metadata}, _Head))
    except msgspec.ValidationError as error:
        raise faults.of_content(error, _Head) from None
    return _made(line, head, fields.get("effective_at"), pairs, layout)


def _made(
    line: int, head: "_Head | _EntryObject", effective_at: str | None, pairs: Sequence[Pair], layout: Layout
) -> Entry:
    if any(pair.amount > INT64_MAX for pair in pairs):
        raise EntryError(f"amount: more than {INT64_MAX} minor units")
    return Entry(
        line=line,
        number=head.number if layout.numbers_last else None,
        effective_at=layout.effective_at if effective_at is None else _time(effective_at, layout),
        reference=head.reference,
        description=head.description,
        metadata=head.metadata,
        pairs=pairs,
    )


def _transfer(fields: Fields, layout: Layout) -> Pair:
    """Return the transfer in ``fields``. Raises EntryError."""
    currency = _currency(fields.get("currency"), layout)
    amount = _amount(_given(fields, "amount"), currency, layout)
    if amount <= 0:
        raise EntryError("amount: a transfer moves more than nothing; turn the accounts around for a negative amount")
    debit, credit = (_account(_given(fields, name), currency, layout) for name in ("debit_account", "credit_account"))
    return Pair(debit, credit, amount, currency)


def _opening(fields: Fields, layout: Layout) -> list[Pair]:
    """Return the transfer that gives an account its balance. Raises EntryError."""
    posting = _posting(fields, layout)
    assert layout.opening_account is not None, "asked for before"
    other = layout.opening_account.replace("{currency}", posting.currency)
    return pairs_of([posting, Posting(other, -posting.amount, posting.currency)])


def _posting(fields: Fields, layout: Layout) -> Posting:
    """Return the posting in ``fields``. Raises EntryError."""
    currency = _currency(fields.get("currency"), layout)
    account = _account(_given(fields, "account"), currency, layout)
    if "amount" in fields:
        return Posting(account, _amount(fields["amount"], currency, layout), currency)
    if not any(name in fields for name in AMOUNT_FIELDS):
        raise EntryError("amount: it is missing")
    debit, credit = (_amount(fields.get(name, "0"), currency, layout) for name in ("debit", "credit"))
    return Posting(account, debit - credit, currency)


def _given(fields: Fields, name: str) -> str:
    if name not in fields:
        raise EntryError(f"{name}: it is missing")
    return fields[name]


def _amount(text: str, currency: str, layout: Layout) -> int:
    if layout.major_units:
        return minor_units(text, currency, decimal_comma=layout.decimal_comma)
    return whole_number(text)


def _currency(text: str | None, layout: Layout) -> str:
    """Return the code of the currency written as ``text``. Raises EntryError."""
    written = layout.currency if text is None else text.removeprefix(_CURRENCY_PREFIX)
    if written is None:
        raise EntryError("currency: it is missing")
    code = layout.currencies.get(written, written)
    if len(code) != 3 or not (code.isascii() and code.isalpha() and code.isupper()):  # noqa: PLR2004 - ISO 4217's
        raise EntryError(
            f"currency: {code!r} is no code of ISO 4217; say --commodity {code}=CODE for what it stands for"
        )
    return code


def _account(text: str, currency: str, layout: Layout) -> str:
    return layout.account.replace("{account}", text).replace("{currency}", currency)


def _time(text: str, layout: Layout) -> datetime:
    """Return the value date written as ``text``. Raises EntryError."""
    try:
        if layout.date_format is None:
            return read_day_or_time(text)
        read = datetime.strptime(text, layout.date_format)  # noqa: DTZ007 - what names no zone is in UTC
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        written = layout.date_format or "2026-11-26 or 2026-11-26T09:30:00Z"
        raise EntryError(f"effective_at: {text!r} is no day or time as {written}; say --date-format") from None


def _from_json(source: Source, layout: Layout, *, formance: bool) -> Iterator[Entry | RefusedLine]:
    entries, transactions = msgspec.json.Decoder(_EntryObject), msgspec.json.Decoder(_FormanceTransaction)
    for line in json_lines(source):
        if isinstance(line, RefusedLine):
            yield line
            continue
        try:
            if formance:
                yield _formance_entry(line.number, decode(transactions, line.text), layout)
            else:
                yield _object_entry(line.number, decode(entries, line.text), layout)
        except (EntryError, MalformedError) as error:
            yield _refused(line.number, None, error)


def _object_entry(line: int, said: _EntryObject, layout: Layout) -> Entry:
    if said.postings is None:
        names = ("debit_account", "credit_account", "amount", "currency")
        fields = {name: str(value) for name in names if (value := getattr(said, name)) is not None}
        pairs: Sequence[Pair] = [_transfer(fields, layout)]
    else:
        if len(said.postings) > POSTINGS_MAX:
            raise EntryError(f"the entry has {len(said.postings)} postings, more than {POSTINGS_MAX}")
        rows = [
            {"account": one.account, "amount": str(one.amount)} | ({"currency": one.currency} if one.currency else {})
            for one in said.postings
        ]
        pairs = pairs_of([_posting(fields, layout) for fields in rows])
    return _made(line, said, said.effective_at, pairs, layout)


def _formance_entry(line: int, said: _FormanceTransaction, layout: Layout) -> Entry:
    """Return the entry of a transaction of Formance, whose postings are transfers: from a source, which is debited, to
    a destination, which is credited. With credit as normal side, accounts have the balances that they have there.
    """
    if len(said.postings) > POSTINGS_MAX:
        raise EntryError(f"the transaction has {len(said.postings)} postings, more than {POSTINGS_MAX}")
    pairs = []
    for posting in said.postings:
        asset, _, places = posting.asset.partition("/")
        currency = _currency(asset, layout)
        if not places.isascii() or not (places.isdigit() or not places) or len(places) > 2:  # noqa: PLR2004
            raise EntryError(f"asset: {posting.asset!r} is no asset such as USD/2")
        amount = scaled(posting.amount, int(places or 0), currency)
        if amount:
            debit, credit = (_account(one, currency, layout) for one in (posting.source, posting.destination))
            pairs.append(Pair(debit, credit, amount, currency))
    if not pairs:
        raise EntryError("nothing moves")
    metadata = {name: value if isinstance(value, str) else str(value) for name, value in said.metadata.items()}
    fields = {"number": str(said.id), "effective_at": said.timestamp}
    fields |= {METADATA + name: value for name, value in metadata.items()}
    return _entry(line, fields | ({"reference": said.reference} if said.reference else {}), pairs, layout)


def _refused(line: int, number: str | None, error: EntryError | MalformedError) -> RefusedLine:
    if isinstance(error, EntryError):
        return RefusedLine(line, number, MALFORMED, str(error))
    member = error.pointer.removeprefix("/")
    return RefusedLine(line, number, MALFORMED, f"{member}: {error.reason}" if member else error.reason)
