"""Records of an import: what is read, what is refused, and how much of a file is in memory."""

import io
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, BinaryIO, cast

import msgspec
import pytest

from service.api.schemas import AccountRequest
from service.cli.lines import Format, HeaderError, Line, RefusedLine, Source, read_lines

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
        (b"a,,,,", "missing required field `currency`"),
        (b"a,usd,,,", "currency: Expected `str` matching"),
        (b"a,USD,,1.5,", "minimum_balance: Expected `int | null`"),
        (b"a,USD,,1e3,", "minimum_balance: Expected `int | null`"),
        (b"a,USD,,9223372036854775808,", "minimum_balance: Expected `int` <="),
        (b"a,USD,,-9223372036854775808,", "minimum_balance: Expected `int` >="),
        (b"a,USD," + b"n" * 256 + b",,", "name: Expected `str` of length <= 255"),
        (b"a,USD,,," + b"m" * 501, "metadata: Expected `str` of length <= 500"),
        (b"a\0,USD,,,", "reference: the character U+0000 (NUL)"),
        (b"a ,USD,,,", "reference: white space at the ends"),
        (b"a,USD,\xc2\xa0,,", "name: it is blank"),
        (b"a,USD,Zoe\xcc\x88,,", "name: not in Unicode's normalization form C"),
        (b"a,USD,a\ttab,,", "name: the character U+0009 (TAB)"),
        (b"a,USD,,,\x1b", "metadata: the value of 'branch': the character U+001B"),
        (b"a,USD,\xff,,", "name: not UTF-8"),
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
        (b"[]", "Expected `object`"),
        (b'{"currency":"USD"}', "reference: an import needs one"),
        (b'{"currency":"USD","reference":null}', "reference: an import needs one"),
        (b'{"reference":"a"}', "missing required field `currency`"),
        (b'{"currency":"USD","reference":"a","balance":5}', "unknown field `balance`"),
        (b'{"currency":"USD","reference":"a","minimum_balance":"5"}', "minimum_balance: Expected `int | null`"),
        (b'{"currency":"USD","reference":"a","normal_side":"left"}', "normal_side: Invalid enum value"),
        (b'{"currency":"USD","reference":"a","metadata":{"k":1}}', "metadata: Expected `str`"),
        (b'{"currency":"USD","reference":"\xff"}', "not valid JSON"),
        (b'{"currency":"USD","reference":"\\ud800"}', "not valid JSON"),
        (b'{"currency":"USD","reference":"\\u202ea"}', "reference: the character U+202E"),
        (b'{"currency":"USD","reference":"a","metadata":{"k ":"v"}}', "metadata: the name 'k ': white space"),
        (b'{"currency":"USD","reference":"' + b"r" * BYTES_MAX + b'"}', "longer than 1024 bytes"),
        (b'{"currency":"USD","reference":"a","name":' + b"[" * 900, "name: Expected `str | null`, got `array`"),
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
        (b"reference;currency\n", "There is no column 'reference;currency'"),
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
