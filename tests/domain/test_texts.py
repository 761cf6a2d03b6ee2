"""Texts: two names that look alike are equal, and no free text changes the direction or the lines of what shows it."""

import re
import sys
import unicodedata
from typing import get_args

import pytest

from service.domain.texts import client_fault, name_fault, prose_fault
from service.wire.scalars import Name, Reference

GOOD_NAMES = [
    "a",
    "INV-2026/0001",
    "rent of march",
    "a  b",
    "Zoë",
    "naïve café",
    "\U0001f3e6",
    "山田太郎",
    "مرحبا",
    "Ω",
    "~!@#$%^&*()_+{}|:\"<>?`-=[]\\;',./",
]
BAD_NAMES = {
    "": "blank",
    " ": "blank",
    "\u3000": "blank",
    "\u00a0\u2003": "blank",
    " x": "white space at the ends",
    "x ": "white space at the ends",
    "x\u00a0": "white space at the ends",
    "\u2003x": "white space at the ends",
    "x\n": "white space at the ends",
    "x\t": "white space at the ends",
    "x\u2028": "white space at the ends",
    "x\x1f": "white space at the ends",
    "a\u00a0b": r"U\+00A0 \(NO-BREAK SPACE\)",
    "a\u3000b": r"U\+3000 \(IDEOGRAPHIC SPACE\)",
    "a\tb": r"U\+0009 \(TAB\)",
    "a\nb": r"U\+000A \(LINE FEED\)",
    "a\x00b": r"U\+0000 \(NUL\)",
    "a\x1bb": r"U\+001B \(ESCAPE\)",
    "a\x7fb": r"U\+007F",
    "a\x85b": r"U\+0085",
    "a\x9bb": r"U\+009B",
    "a\u2028b": r"U\+2028 \(LINE SEPARATOR\)",
    "a\u2029b": r"U\+2029 \(PARAGRAPH SEPARATOR\)",
    "a\u200bb": r"U\+200B \(ZERO WIDTH SPACE\)",
    "a\u200db": r"U\+200D \(ZERO WIDTH JOINER\)",
    "a\u2060b": r"U\+2060 \(WORD JOINER\)",
    "\ufeffa": r"U\+FEFF \(ZERO WIDTH NO-BREAK SPACE\)",
    "a\u00adb": r"U\+00AD \(SOFT HYPHEN\)",
    "a\u200eb": r"U\+200E",
    "a\u061cb": r"U\+061C",
    "\u202eabc": r"U\+202E \(RIGHT-TO-LEFT OVERRIDE\)",
    "a\u2066b": r"U\+2066 \(LEFT-TO-RIGHT ISOLATE\)",
    "a\u2069": r"U\+2069",
    "a\ufe0f": r"U\+FE0F \(VARIATION SELECTOR-16\)",
    "a\U000e0101": r"U\+E0101",
    "a\U000e0061": r"U\+E0061",
    "\u3164": r"U\+3164 \(HANGUL FILLER\)",
    "\u2800": r"U\+2800 \(BRAILLE PATTERN BLANK\)",
    "a\u034fb": r"U\+034F",
    "a\ufffe": r"U\+FFFE",
    "a\U0010ffff": r"U\+10FFFF",
    "a\ue000": r"U\+E000",
    "Zoe\u0308": "NFC",
    "cafe\u0301": "NFC",
    "\u212b": "NFC",  # ANGSTROM SIGN, which is Å
    "\u2126": "NFC",  # OHM SIGN, which is Ω
    "\u1100\u1161": "NFC",
}


@pytest.mark.parametrize("text", GOOD_NAMES)
def test_names_that_are_valid(text: str) -> None:
    assert name_fault(text) is None
    for schema in _patterns():
        assert schema.search(text)


@pytest.mark.parametrize(("text", "reason"), BAD_NAMES.items(), ids=lambda text: ascii(text)[:30])
def test_names_that_are_invalid_with_the_reason(text: str, reason: str) -> None:
    fault = name_fault(text)
    assert fault is not None
    assert re.search(reason, fault), fault
    assert fault.isprintable()


def test_no_valid_name_differs_from_another_only_by_invisible_characters() -> None:
    """Every character of the planes that have some, inside a name and at its end."""
    for code in (*range(0x30000), *range(0xE0000, 0xE1000), *range(0x10FF00, sys.maxunicode + 1)):
        character = chr(code)
        taken = name_fault(f"a{character}a") is None
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"} or (
            character.isspace() and character != " "
        ):
            assert not taken, f"U+{code:04X}"
        if character.isspace():
            assert name_fault(f"a{character}") is not None
            assert name_fault(f"{character}a") is not None


def test_the_document_accepts_every_name_that_is_valid() -> None:
    for code in range(0x10000):
        text = f"a{chr(code)}a"
        described = all(pattern.search(text) for pattern in _patterns())
        assert described or name_fault(text) is not None, f"U+{code:04X}"


def _patterns() -> list[re.Pattern[str]]:
    return [re.compile(get_args(kind)[1].extra_json_schema["pattern"]) for kind in (Name, Reference)]


@pytest.mark.parametrize(
    "text", ["", " ", "two\nlines\r\n\tand a tab ", "e\u0301", "\u200d\ufe0f", "a\u00a0b", "\u2028", "\u200e", "…"]
)
def test_prose_that_is_valid(text: str) -> None:
    assert prose_fault(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(chr(code) for code in range(0x20) if chr(code) not in "\t\n\r"),
        *map(chr, range(0x7F, 0xA0)),
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufdd0\ufffe\uffff",
    ],
    ids=ascii,
)
def test_prose_that_is_invalid(text: str) -> None:
    fault = prose_fault(f"before {text} after")
    assert fault is not None
    assert f"U+{ord(text):04X}" in fault
    assert fault.isprintable()


def test_names_of_clients_are_short() -> None:
    assert client_fault("\U0001f3e6" * 128) is None
    assert "at most 128" in (client_fault("c" * 129) or "")
    assert "blank" in (client_fault(" ") or "")
