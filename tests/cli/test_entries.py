"""Entries of an import: what is read of a file, what is refused, and how much of it is in memory."""

import io
import tracemalloc
from collections.abc import Iterator
from itertools import count, islice
from typing import BinaryIO, cast

import pytest

from service.cli.entries import read_entries
from service.cli.layouts import Layout
from service.cli.records import Format, RefusedLine, Source
from service.errors import HeaderError
from service.journals.entries import POSTINGS_MAX, Entry, Pair
from tests.cli.test_lines import Endless

BYTES_MAX = 1024
POSTINGS = b"number,account,amount,currency\n"
MAJOR = Layout(major_units=True)


def read(content: bytes, form: Format = "csv", layout: Layout | None = None) -> list[Entry | RefusedLine]:
    return list(read_entries(Source(io.BytesIO(content), BYTES_MAX), form, layout or Layout()))


def refused(content: bytes, form: Format = "csv", layout: Layout | None = None) -> list[tuple[int, str]]:
    """Lines and reasons of what is refused, where nothing else is there."""
    entries = read(content, form, layout)
    assert all(isinstance(entry, RefusedLine) for entry in entries), entries
    return [(entry.line, entry.reason) for entry in entries if isinstance(entry, RefusedLine)]


def test_rows_that_follow_each_other_are_one_entry() -> None:
    first, second, third = read(POSTINGS + b"1,a,5,USD\n1,b,-5,USD\n2,a,1,USD\n2,c,-1,USD\n1,a,7,USD\n1,b,-7,USD\n")
    assert isinstance(first, Entry)
    assert isinstance(second, Entry)
    assert isinstance(third, Entry)
    assert [first.line, second.line, third.line] == [2, 4, 6]
    assert [first.number, second.number, third.number] == ["1", "2", "1"]
    assert [first.pairs, second.pairs] == [[Pair("a", "b", 5, "USD")], [Pair("a", "c", 1, "USD")]]


def test_what_cannot_be_read_takes_its_entry_with_it_and_no_other() -> None:
    entries = read(POSTINGS + b'1,a,5,USD\n1,b,-5,USD\n2,a,5,"US"D\n2,b,-5,USD\n3,a,1,USD\n3,b,-1,USD\n')
    assert [(entry.line, type(entry).__name__) for entry in entries] == [
        (2, "Entry"),
        (4, "RefusedLine"),
        (5, "RefusedLine"),
        (6, "Entry"),
    ]
    assert [entry.reason for entry in entries if isinstance(entry, RefusedLine)] == [
        "not valid CSV: ',' expected after '\"'",
        "the entry does not balance: a debit of 0.05 USD is missing",
    ]


def test_an_entry_has_no_more_postings_than_are_kept() -> None:
    content = io.BytesIO(POSTINGS + b"1,a,1,USD\n" * 200_000 + b"2,a,1,USD\n2,b,-1,USD\n")
    tracemalloc.start()
    entries = list(read_entries(Source(content, BYTES_MAX), "csv", Layout()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(entries[0], RefusedLine)
    assert entries[0].reason == f"the entry has 200000 postings, more than {POSTINGS_MAX}"
    assert isinstance(entries[1], Entry)
    assert peak < 2_000_000


def test_a_file_without_end_is_read_as_far_as_is_asked() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"debit_account,credit_account,amount,currency\n"
        for number in count(1):
            yield b"a,b,%d,USD\n" % number

    stream = Endless(chunks())
    entries = read_entries(Source(cast("BinaryIO", io.BufferedReader(stream)), BYTES_MAX), "csv", Layout())
    assert [entry.line for entry in islice(entries, 1000)] == list(range(2, 1002))
    assert stream.given < 20_000


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"a,b,0,USD", "amount: a transfer moves more than nothing"),
        (b"a,b,-1,USD", "amount: a transfer moves more than nothing"),
        (b"a,b,1.5,USD", "'1.5' is no whole number of minor units; with --major-units"),
        (b"a,b,9223372036854775808,USD", "amount: more than 9223372036854775807 minor units"),
        (b"a,b,,USD", "amount: it is missing"),
        (b"a,,1,USD", "credit_account: it is missing"),
        (b"a,b,1,", "currency: it is missing"),
        (b"a,b,1,dollars", "currency: 'dollars' is no code of ISO 4217; say --commodity dollars=CODE"),
        (b"a,b,1", "3 cells for 4 columns"),
        (b"a,\xff,1,USD", "credit_account: not UTF-8"),
        (b"a," + b"b" * BYTES_MAX + b",1,USD", "longer than 1024 bytes"),
    ],
)
def test_what_is_wrong_with_a_transfer_is_told(row: bytes, reason: str) -> None:
    [(line, told)] = refused(b"debit_account,credit_account,amount,currency\n" + row + b"\n")
    assert line == 2
    assert told.startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"debit_account":"a","credit_account":"b","amount":1.5,"currency":"USD"}', "amount: this must be"),
        (b'{"debit_account":"a","credit_account":"b","amount":1,"currency":"USD","x":1}', "x: there is no such member"),
        (b'{"debit_account":"a","credit_account":"b","amount":1,"amount":1,"currency":"USD"}', "amount: this member"),
        (b'{"postings":[]}', "nothing moves"),
        (b'{"postings":[{"account":"a","amount":1,"currency":"USD"}]}', "the entry does not balance: a credit of 0.01"),
        (b'{"number":" 1","postings":[]}', "number: white space at the ends"),
        (b"{", "not valid JSON: it is empty, or ends before it is complete"),
    ],
)
def test_what_is_wrong_with_an_object_is_told(text: bytes, reason: str) -> None:
    [(_, told)] = refused(text, "jsonl")
    assert told.startswith(reason), told


@pytest.mark.parametrize(
    ("text", "format", "written"),
    [
        ("2024-01-31", None, "2024-01-31T00:00:00+00:00"),
        ("2024-01-31T23:30:00-02:00", None, "2024-02-01T01:30:00+00:00"),
        ("31.01.2024", "%d.%m.%Y", "2024-01-31T00:00:00+00:00"),
        ("01/31/24 11:30 PM", "%m/%d/%y %I:%M %p", "2024-01-31T23:30:00+00:00"),
    ],
)
def test_days_and_times(text: str, format: str | None, written: str) -> None:  # noqa: A002
    header = b"debit_account,credit_account,amount,currency,effective_at\n"
    [entry] = read(header + f"a,b,1,USD,{text}\n".encode(), layout=Layout(date_format=format))
    assert isinstance(entry, Entry)
    assert entry.effective_at is not None
    assert entry.effective_at.isoformat() == written


@pytest.mark.parametrize("text", ["2024-02-30", "31.01.2024", "2024-01-31T10:00:00", "0000-01-01", "soon"])
def test_what_is_no_day_is_told(text: str) -> None:
    header = b"debit_account,credit_account,amount,currency,effective_at\n"
    [(_, reason)] = refused(header + f"a,b,1,USD,{text}\n".encode())
    assert reason.startswith(f"effective_at: {text!r} is no day or time as 2026-11-26 or")


def test_a_name_of_a_column_can_be_another_ones() -> None:
    """What the file calls ``amount`` is the currency here."""
    layout = Layout(columns={"amount": "currency", "currency": "amount"})
    [entry] = read(b"debit_account,credit_account,currency,amount\na,b,5,USD\n", layout=layout)
    assert isinstance(entry, Entry)
    assert entry.pairs == [Pair("a", "b", 5, "USD")]


@pytest.mark.parametrize("header", [b"", b'"a', b"\xff,amount\n", b"metadata.,amount\n", b"account,amount,currency\n"])
def test_a_header_that_names_no_columns_is_told(header: bytes) -> None:
    with pytest.raises(HeaderError):
        read(header)


def test_amounts_in_major_units() -> None:
    [entry] = read(POSTINGS + b'1,a,"1,234.5",USD\n1,b,"-1,234.50",USD\n', layout=MAJOR)
    assert isinstance(entry, Entry)
    assert entry.pairs == [Pair("a", "b", 123_450, "USD")]
    assert refused(POSTINGS + b"1,a,10.505,USD\n1,b,-10.505,USD\n", layout=MAJOR) == [
        (2, "'10.505' has more decimal places than USD, which has 2")
    ]


def test_members_that_cannot_be_shown_are_told_all_the_same() -> None:
    [(_, reason)] = refused(b'{"number": "1", "\\u0000\\u001b[2J": "x", "postings": []}\n', "jsonl")
    assert reason.isprintable()
    assert reason.startswith(r"'\x00\x1b[2J': there is no such member here")
