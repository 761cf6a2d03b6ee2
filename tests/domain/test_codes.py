"""Codes of accounts: what they consist of, and what each stands for."""

import msgspec
import pytest

from service.domain.codes import BEHIND_SEPARATOR, LENGTH_MAX, SEGMENTS_MAX, SEPARATOR, stands_for
from service.wire.scalars import AccountCode


@pytest.mark.parametrize(
    "code", ["1000", "a", "1000:cash:eur", "A.b_c-d:0", ":".join("9" * SEGMENTS_MAX), "x" * LENGTH_MAX]
)
def test_a_code(code: str) -> None:
    assert msgspec.convert(code, AccountCode) == code


@pytest.mark.parametrize(
    "code",
    [
        "",
        ":",
        "1000:",
        ":1000",
        "1000::eur",
        " 1000",
        "1000 ",
        "cash eur",
        "=1000",
        "-1000",
        "@cash",
        "1000:-x",
        "1000/cash",
        "Büro",
        "１０００",
        "1000\n",
        "1000\x00",
        ":".join("9" * (SEGMENTS_MAX + 1)),
        "x" * (LENGTH_MAX + 1),
    ],
)
def test_no_code(code: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(code, AccountCode)


@pytest.mark.parametrize(
    ("group", "code", "expected"),
    [
        ("1000", "1000", True),
        ("1000", "1000:cash", True),
        ("1000", "1000:cash:eur", True),
        ("1000:cash", "1000:cash:eur", True),
        ("1000", "10001", False),
        ("1000", "1000-1:cash", False),
        ("1000:ca", "1000:cash", False),
        ("1000:cash", "1000", False),
    ],
)
def test_a_code_stands_for_whole_segments(group: str, code: str, *, expected: bool) -> None:
    assert stands_for(group, code) is expected
    in_the_range = code == group or group + SEPARATOR <= code < group + BEHIND_SEPARATOR
    assert in_the_range is expected, "as the index finds it"
