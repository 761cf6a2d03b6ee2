"""Records of an import: what is read, what is refused, and how much of a file is in memory."""

import gzip
import io
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, BinaryIO, cast

import msgspec
import pytest

from service.cli.lines import Line, read_lines
from service.cli.records import Format, RefusedLine, Source
from service.errors import HeaderError, UnreadableFileError
from service.wire.accounts import AccountRequest

BYTES_MAX = 1024
HEADER = b"reference,currency,name,minimum_balance,metadata.branch\n"


def lines_of(content: bytes, form: Format) -> list[Line | RefusedLine]:
    return list(read_lines(Source(io.BytesIO(content), BYTES_MAX), form))


def refused(content: bytes, form: Format) -> list[tuple[int, str]]:
    """Numbers and reasons of the refused lines."""
    lines = [line for line in lines_of(content, form) if isinstance(line, RefusedLine)]
    assert {line.code for line in lines} <= {"malformed_request"}
    return [(line.line, line.reason) for line in lines]


class Endless(io.RawIOBase):
    """A stream without end, made of ``chunks``."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = next(self._chunks)
        buffer[: len(chunk)] = chunk
        self.given += len(chunk)
        return len(chunk)


def test_both_formats_give_the_same_requests() -> None:
    rows = (
        HEADER + b'a,USD,"Ada, of the ""North""",-500,north\nb,JPY,,,\n\nc,EUR,,0,"two\nlines"\r\nd,USD,Zo\xc3\xab,,x\n'
    )
    objects = (
        b'{"reference":"a","currency":"USD","name":"Ada, of the \\"North\\"","minimum_balance":-500,'
        b'"metadata":{"branch":"north"}}\n'
        b'{"reference":"b","currency":"JPY","name":null}\n\n'
        b'{"reference":"c","currency":"EUR","minimum_balance":0,"metadata":{"branch":"two\\nlines"}}\n'
        b'{"reference":"d","currency":"USD","name":"Zo\\u00eb","metadata":{"branch":"x"}}'
    )
    from_rows, from_objects = lines_of(rows, "csv"), lines_of(objects, "jsonl")

    assert [line.request for line in from_rows if isinstance(line, Line)] == [
        line.request for line in from_objects if isinstance(line, Line)
    ]
    assert [line.number for line in from_rows if isinstance(line, Line)] == [2, 3, 5, 7]
    assert [line.number for line in from_objects if isinstance(line, Line)] == [1, 2, 4, 5]


def test_every_field_of_a_request_has_its_column() -> None:
    names = [name for name in AccountRequest.__struct_fields__ if name != "metadata"]
    values = {
        "currency": "USD",
        "reference": "null",
        "name": "12",
        "normal_side": "debit",
        "minimum_balance": "-1",
        "maximum_balance": "9223372036854775807",
        "code": "1000:cash:eur",
    }
    content = ",".join(names) + "\n" + ",".join(values[name] for name in names) + "\n"

    [line] = lines_of(content.encode(), "csv")

    assert isinstance(line, Line)
    assert msgspec.structs.asdict(line.request) == values | {
        "minimum_balance": -1,
        "maximum_balance": 2**63 - 1,
        "metadata": {},
    }


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_byte_order_mark_is_no_content(form: Format) -> None:
    content = b"currency,reference\nUSD,a\n" if form == "csv" else b'{"currency":"USD","reference":"a"}\n'
    assert lines_of(b"\xef\xbb\xbf" + content, form) == lines_of(content, form)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b",USD,,,", "reference: an import needs one"),
        (b"a,,,,", 'the member "currency" is missing; it must be a currency of ISO 4217'),
        (b"a,usd,,,", 'currency: this must be a currency of ISO 4217, three capital letters, such as "USD"'),
        (b"a,USD,,1.5,", "minimum_balance: this must be a whole number of minor units"),
        (b"a,USD,,1e3,", "minimum_balance: this must be a whole number of minor units"),
        (
            b"a,USD,,9223372036854775808,",
            "minimum_balance: this must be a whole number of minor units from -9223372036854775807",
        ),
        (
            b"a,USD,,-9223372036854775808,",
            "minimum_balance: this must be a whole number of minor units from -9223372036854775807",
        ),
        (b"a,USD," + b"n" * 256 + b",,", "name: this must be a text of 1 to 255 visible characters"),
        (b"a,USD,,," + b"m" * 501, "metadata: this must be an object of at most 50 members"),
        (b"a\0,USD,,,", "reference: the character U+0000 (NUL)"),
        (b"a ,USD,,,", "reference: white space at the ends"),
        (b"a,USD,\xc2\xa0,,", "name: it is blank"),
        (b"a,USD,Zoe\xcc\x88,,", "name: not in Unicode's normalization form C"),
        (b"a,USD,a\ttab,,", "name: the character U+0009 (TAB)"),
        (b"a,USD,,,\x1b", 'metadata: the value of "branch": the character U+001B'),
        (b"a,USD,\xff,,", "name: not UTF-8; save the file as UTF-8"),
        (b"a,USD,n\rb,USD,n,,", "a carriage return in a cell without quotation marks"),
        (b"a,USD", "2 cells for 5 columns"),
        (b"a,USD,,,,", "6 cells for 5 columns"),
        (b'a,USD,"n"x,,', "not valid CSV"),
        (b"a,USD," + b"n" * BYTES_MAX + b",,", "longer than 1024 bytes"),
    ],
)
def test_a_row_that_is_no_account_is_refused_with_its_reason(row: bytes, reason: str) -> None:
    lines = lines_of(HEADER + b"before,USD,,,\n" + row + b"\nafter,USD,,,\n", "csv")

    assert [line.number for line in lines if isinstance(line, Line)] == [2, 4]
    [line] = [line for line in lines if isinstance(line, RefusedLine)]
    assert line.line == 3
    assert line.code == "malformed_request"
    assert reason in line.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"[]", 'this must be an object with "currency"'),
        (b'{"currency":"USD"}', "reference: an import needs one"),
        (b'{"currency":"USD","reference":null}', "reference: an import needs one"),
        (b'{"reference":"a"}', 'the member "currency" is missing'),
        (
            b'{"currency":"USD","reference":"a","balance":5}',
            "balance: there is no such member here; there are currency, reference, name",
        ),
        (
            b'{"currency":"USD","reference":"a","minimum_balance":"5"}',
            'or null; it was a text: write it without quotation marks, 35 instead of "35"',
        ),
        (b'{"currency":"USD","reference":"a","normal_side":"left"}', 'normal_side: this must be "credit" or "debit"'),
        (
            b'{"currency":"USD","reference":"a","metadata":{"k":1}}',
            'such as {"invoice": "17"}; one in it was a whole number',
        ),
        (b'{"currency":"USD","reference":"a","currency":"EUR"}', "currency: this member is there more than once"),
        (b'{"currency":"USD","reference":"\xff"}', "not valid JSON"),
        (b'{"currency":"USD","reference":"\\ud800"}', "not valid JSON"),
        (b'{"currency":"USD","reference":"\\u202ea"}', "reference: the character U+202E"),
        (b'{"currency":"USD","reference":"a","metadata":{"k ":"v"}}', 'metadata: the name "k ": white space'),
        (b'{"currency":"USD","reference":"' + b"r" * BYTES_MAX + b'"}', "longer than 1024 bytes"),
        (b'{"currency":"USD","reference":"a","name":' + b"[" * 900, 'such as "Ada Lovelace", or null; it was a list'),
    ],
)
def test_an_object_that_is_no_account_is_refused_with_its_reason(line: bytes, reason: str) -> None:
    content = b'{"currency":"USD","reference":"before"}\n' + line + b'\n{"currency":"USD","reference":"after"}'
    assert len(lines_of(content, "jsonl")) == 3
    [(number, said)] = refused(content, "jsonl")
    assert number == 2
    assert reason in said


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"", "the column 'reference' is missing"),
        (b"reference,name\n", "the column 'currency' is missing"),
        (b"reference;currency\n", "separated by semicolons, in 'reference;currency': separate them by commas"),
        (b"sep=;\nreference;currency\n", "separated by semicolons"),
        (b"reference\tcurrency\n", "separated by tabs"),
        (b"reference|currency\n", "separated by bars"),
        (b"reference,currency,,\n", "Column 3 of the first line has no name"),
        (b",,,\nreference,currency\n", "Column 1 of the first line has no name"),
        (b"\nreference,currency\n", "The first line must name the columns"),
        (b"r\xe9f\xe9rence,currency\n", "not UTF-8, in 'r.*': save the file as UTF-8"),
        (b"reference,currency,metadata.a \n", "The column 'metadata.a ' cannot be a name in metadata: white space"),
        (b"reference, currency\n", "There is no column ' currency'; the columns are currency, reference"),
        (b"reference,currency,nmae\n", "There is no column 'nmae'"),
        (b"reference,currency,metadata\n", "There is no column 'metadata'"),
        (b"reference,currency,metadata.\n", "There is no column 'metadata.'"),
        (b"reference,currency,reference\n", "'reference' is there more than once"),
        (b'"reference,currency\n', "no CSV header"),
        (b"r" * 2000, "no CSV header"),
    ],
)
def test_a_header_that_names_no_accounts_is_an_error(header: bytes, sentence: str) -> None:
    with pytest.raises(HeaderError, match=sentence):
        lines_of(header, "csv")


ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
ROWS, OBJECTS = "reference,currency\na,USD\n", '{"reference":"a","currency":"USD"}\n'


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_in_wide_characters_is_an_error(form: Format, mark: str, encoding: str) -> None:
    content = (mark + (ROWS if form == "csv" else OBJECTS)).encode(encoding)
    with pytest.raises(UnreadableFileError, match=r"UTF-16 or UTF-32, not UTF-8: save the file as UTF-8"):
        lines_of(content, form)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00", "a workbook, not text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook, not text"),
        (gzip.compress(ROWS.encode(), mtime=0), "compressed: unpack it first"),
        (b"\x28\xb5\x2f\xfd\x04", "compressed: unpack it first"),
    ],
)
def test_a_file_that_is_no_text_is_an_error(form: Format, content: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableFileError, match=sentence):
        lines_of(content, form)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("lines", [1, 2, 1_000])
def test_lines_that_end_as_on_old_macs_are_an_error(form: Format, lines: int) -> None:
    content = ROWS.replace("\n", "\r") + "b,USD\r" * lines if form == "csv" else (OBJECTS * (lines + 1))
    with pytest.raises(UnreadableFileError, match="end in a carriage return alone"):
        lines_of(content.replace("\n", "\r").encode(), form)


@pytest.mark.parametrize(
    "content", [b'[{"reference":"a","currency":"USD"}]', b"\xef\xbb\xbf [", b'[\n{"reference":"a"},\n']
)
def test_a_json_array_is_no_file_of_lines(content: bytes) -> None:
    with pytest.raises(UnreadableFileError, match="a JSON array: write one object a line"):
        lines_of(content, "jsonl")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_rows_of_empty_cells_are_skipped_and_counted(end: bytes) -> None:
    rows = [HEADER.strip(), b",,,,", b"a,USD,,,", b",,,,", b'"",,,,', b"", b",", b"b,USD,,,", b",,,,", b",,,,"]
    source = Source(io.BytesIO(end.join(rows)), BYTES_MAX)

    lines = list(read_lines(source, "csv"))

    assert [(line.number, line.request.reference) for line in lines if isinstance(line, Line)] == [(3, "a"), (8, "b")]
    assert len(lines) == 2
    assert source.rows_empty == 6


def test_an_open_quote_takes_no_more_than_one_record_may_have() -> None:
    rows = b"".join(b"r%d,USD,,,\n" % number for number in range(1000))

    lines = lines_of(HEADER + b'x,USD,"open,,\n' + rows, "csv")

    assert isinstance(lines[0], RefusedLine)
    assert lines[0].line == 2
    assert "in the lines up to" in lines[0].reason
    assert len(lines) > 1000 - BYTES_MAX // 8
    assert all(isinstance(line, Line) for line in lines[1:])


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_lines_are_read_as_they_are_asked_for(form: Format) -> None:
    rows = b"r%d,USD\n" if form == "csv" else b'{"reference":"r%d","currency":"USD"}\n'
    head = [b"reference,currency\n"] if form == "csv" else []
    stream = Endless(iter([*head, *(rows % number for number in range(10_000))]))
    source = Source(cast("BinaryIO", io.BufferedReader(stream, buffer_size=512)), BYTES_MAX)

    first = list(islice(read_lines(source, form), 100))

    assert all(isinstance(line, Line) for line in first)
    assert stream.given < 100 * 64


def test_a_line_without_end_stays_out_of_memory() -> None:
    chunks = (b"\n" if number == 100_000 else b"x" * 500 for number in count())
    stream = Endless(chunks)
    source = Source(cast("BinaryIO", io.BufferedReader(stream)), BYTES_MAX)

    assert isinstance(next(read_lines(source, "jsonl")), RefusedLine)
    assert stream.given > 500 * 100_000
