"""What the cells and members of an entry mean: its accounts, amounts, currencies and times."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from service.cli.layouts import AMOUNT_FIELDS, ENTRY_FIELDS, METADATA, Layout
from service.cli.records import MALFORMED, RefusedLine
from service.cli.times import read_day_or_time
from service.domain.limits import INT64_MAX
from service.errors import EntryError
from service.journals.amounts import minor_units, whole_number
from service.journals.entries import Entry, Pair, Posting, pairs_of
from service.wire import faults
from service.wire.errors import MalformedError
from service.wire.scalars import Description, Metadata, Reference
from service.wire.values import checked

_CURRENCY_PREFIX = "CURRENCY::"  # GnuCash's

Fields = Mapping[str, str]
"""What a row says, by field."""


class EntryHead(Struct, kw_only=True, frozen=True):
    """What an entry says beside its postings, held to the rules of transfers."""

    number: Reference | None = None
    reference: Reference | None = None
    description: Description | None = None
    metadata: Metadata = {}


def entry_of(line: int, fields: Fields, pairs: Sequence[Pair], layout: Layout) -> Entry:
    """Return the entry whose head is in ``fields``. Raises EntryError, MalformedError."""
    metadata = {name.removeprefix(METADATA): value for name, value in fields.items() if name.startswith(METADATA)}
    said = {name: fields[name] for name in ENTRY_FIELDS if name in fields and name != "effective_at"}
    try:
        head = checked(EntryHead, msgspec.convert(said | {"metadata": metadata}, EntryHead))
    except msgspec.ValidationError as error:
        raise faults.of_content(error, EntryHead) from None
    return entry_with(line, head, fields.get("effective_at"), pairs, layout)


def entry_with(line: int, head: EntryHead, effective_at: str | None, pairs: Sequence[Pair], layout: Layout) -> Entry:
    """Return the entry of ``head`` and ``pairs``, dated as the file says it. Raises EntryError."""
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


def transfer_of(fields: Fields, layout: Layout) -> Pair:
    """Return the transfer in ``fields``. Raises EntryError."""
    currency = currency_of(fields.get("currency"), layout)
    amount = _amount(_given(fields, "amount"), currency, layout)
    if amount <= 0:
        raise EntryError("amount: a transfer moves more than nothing; turn the accounts around for a negative amount")
    debit, credit = (account_of(_given(fields, name), currency, layout) for name in ("debit_account", "credit_account"))
    return Pair(debit, credit, amount, currency)


def opening_of(fields: Fields, layout: Layout) -> list[Pair]:
    """Return the transfer that gives an account its balance. Raises EntryError."""
    posting = posting_of(fields, layout)
    assert layout.opening_account is not None, "asked for before"
    other = layout.opening_account.replace("{currency}", posting.currency)
    return pairs_of([posting, Posting(other, -posting.amount, posting.currency)])


def posting_of(fields: Fields, layout: Layout) -> Posting:
    """Return the posting in ``fields``. Raises EntryError."""
    currency = currency_of(fields.get("currency"), layout)
    account = account_of(_given(fields, "account"), currency, layout)
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


def currency_of(text: str | None, layout: Layout) -> str:
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


def account_of(text: str, currency: str, layout: Layout) -> str:
    """Return the reference of the account that the file calls ``text``."""
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


def refused_line(line: int, number: str | None, error: EntryError | MalformedError) -> RefusedLine:
    """Return why the entry that begins on ``line`` cannot be read."""
    if isinstance(error, EntryError):
        return RefusedLine(line, number, MALFORMED, str(error))
    member = error.pointer.removeprefix("/")
    if not member.isprintable():  # it is what somebody wrote, and is shown on terminals
        member = ascii(member)
    return RefusedLine(line, number, MALFORMED, f"{member}: {error.reason}" if member else error.reason)
