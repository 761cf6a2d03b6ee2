"""What reads files of other programs: accounts and entries, in CSV and in JSON lines."""

import io
import json
from collections.abc import Callable, Iterator

from service.cli.entries import read_entries
from service.cli.layouts import ORIGINS, Layout
from service.cli.lines import Line, read_lines
from service.cli.records import Format, RefusedLine, Source
from service.domain.limits import INT64_MAX
from service.errors import EntryError, UnreadableFileError
from service.journals.amounts import minor_units, whole_number
from service.journals.entries import Entry
from tests.fuzz.drawing import Target, as_text

RECORD_BYTES_MAX = 4096
_FORMANCE = {
    "id": 7,
    "timestamp": "2026-11-26T09:30:00Z",
    "reference": "r",
    "metadata": {"a": {"b": [1]}},
    "postings": [{"source": "world", "destination": "users:1", "amount": 100, "asset": "USD/2"}],
}
_TRANSFER = {"number": "1", "debit_account": "a", "credit_account": "b", "amount": 5, "currency": "USD"}
_POSTINGS = {"number": "2", "effective_at": "2026-11-26", "postings": [
    {"account": "a", "amount": "5", "currency": "USD"}, {"account": "b", "amount": -5, "currency": "USD"}]}  # fmt: skip
_HLEDGER = b"""txnidx,date,date2,status,code,description,comment,account,amount,commodity,credit,debit
"1","2026-11-26","","","c","shop","","assets:cash","-12.50","USD","12.50",""
"1","2026-11-26","","","c","shop","","expenses","12.50","USD","","12.50"
"""
_BEANCOUNT = b"""id,date,payee,narration,account,number,currency
abc,2026-11-26,Shop,Food,Assets:Cash,-12.50,USD
abc,2026-11-26,Shop,Food,Expenses:Food,12.50,USD
"""
_GNUCASH = b"""Date,Transaction ID,Number,Description,Notes,Commodity/Currency,Full Account Name,Value Num.
2026-11-26,f00d,7,Shop,,CURRENCY::USD,Assets:Cash,-12.50
,,,,,,Expenses,12.50
"""
_PLAIN = b"number,debit_account,credit_account,amount,currency,effective_at\n1,a,b,5,USD,2026-11-26\n"
_ACCOUNTS = b'reference,currency,minimum_balance,metadata.a\ncash,USD,-5,"x, ""y"""\n'
_CELLS = (
    b'"',
    b'""',
    b",",
    b";",
    b"\n",
    b"\r",
    b"1,000.50",
    b"1.000,50",
    b"\xe2\x88\x925",
    b"(5)",
    b"5-",
    b"1e5",
    b"USD",
)


def file_targets() -> Iterator[Target]:
    layouts: list[tuple[str, Format, Layout, bytes]] = [
        ("transfers in CSV", "csv", Layout(), _PLAIN),
        ("balances in CSV", "csv", Layout(opening_account="equity:{currency}"), b"account,amount,currency\na,5,USD\n"),
        ("hledger", "csv", ORIGINS["hledger"], _HLEDGER),
        ("Beancount", "csv", ORIGINS["beancount"], _BEANCOUNT),
        ("GnuCash", "csv", ORIGINS["gnucash"], _GNUCASH),
        ("commas", "csv", Layout(delimiter=";", decimal_comma=True, major_units=True), _PLAIN.replace(b",", b";")),
        ("days", "csv", Layout(date_format="%d.%m.%Y %z"), _PLAIN.replace(b"2026-11-26", b"26.11.2026 +0100")),
        ("entries", "jsonl", Layout(), b"\n".join(json.dumps(one).encode() for one in (_TRANSFER, _POSTINGS))),
        ("Formance", "jsonl", ORIGINS["formance"], json.dumps(_FORMANCE).encode()),
    ]
    for name, form, layout, sample in layouts:
        read = _reads_entries(form, layout, formance=name == "Formance")
        yield Target(name, read, (UnreadableFileError,), [sample, sample * 2], _CELLS)
    yield Target("accounts in CSV", _reads_accounts("csv"), (UnreadableFileError,), [_ACCOUNTS], _CELLS)
    yield Target(
        "accounts in JSON lines",
        _reads_accounts("jsonl"),
        (UnreadableFileError,),
        [b'{"reference":"cash","currency":"USD","metadata":{"a":"b"}}\n'],
        _CELLS,
    )
    amounts = [b"12.50", b"-1,250.05", b"1 250,05"]
    yield Target("major units", lambda data: minor_units(as_text(data), "USD"), (EntryError,), amounts, _CELLS)
    yield Target("minor units", lambda data: whole_number(as_text(data)), (EntryError,), [b"1050", b"-7"], _CELLS)


def _reads_entries(form: Format, layout: Layout, *, formance: bool) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        source = Source(io.BytesIO(data), RECORD_BYTES_MAX)
        found = list(read_entries(source, form, layout, formance=formance))
        for one in found:
            assert isinstance(one, Entry | RefusedLine)
            if isinstance(one, Entry):
                assert one.pairs
                assert all(0 < pair.amount <= INT64_MAX and pair.debit != pair.credit for pair in one.pairs)
                _encodable(one.reference, one.number, one.description, *one.metadata, *one.metadata.values())
            else:
                _encodable(one.reason)
        assert source.bytes_read == len(data)
        return found

    return read


def _reads_accounts(form: Format) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        found = list(read_lines(Source(io.BytesIO(data), RECORD_BYTES_MAX), form))
        for one in found:
            if isinstance(one, Line):
                _encodable(one.request.reference, one.request.name, *one.request.metadata.values())
        return found

    return read


def _encodable(*texts: str | None) -> None:
    """Check that PostgreSQL can hold these texts."""
    for text in texts:
        assert text is None or b"\0" not in text.encode()
