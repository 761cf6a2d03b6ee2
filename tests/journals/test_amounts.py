"""Amounts in major units: exact, whatever the exponent."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.domain.limits import INT64_MAX
from service.errors import EntryError, UnknownCurrencyError
from service.journals.amounts import decimal_text, exponent_of, minor_units, scaled, whole_number


@pytest.mark.parametrize(
    ("amount", "exponent", "text"),
    [
        (1050, 2, "10.50"),
        (-5, 2, "-0.05"),
        (0, 2, "0.00"),
        (0, 0, "0"),
        (-1050, 0, "-1050"),
        (1234, 3, "1.234"),
        (1, 4, "0.0001"),
        (INT64_MAX, 2, "92233720368547758.07"),
    ],
)
def test_decimal_text(amount: int, exponent: int, text: str) -> None:
    assert decimal_text(amount, exponent) == text


@given(st.integers(), st.sampled_from(sorted(set(MINOR_UNIT_EXPONENTS.values()))))
def test_a_text_is_the_amount(amount: int, exponent: int) -> None:
    assert int(decimal_text(amount, exponent).replace(".", "")) == amount
    assert Decimal(decimal_text(amount, exponent)).as_tuple().exponent == -exponent


def test_a_currency_without_a_minor_unit_is_told() -> None:
    with pytest.raises(UnknownCurrencyError, match="XAU is not a currency"):
        exponent_of("XAU")


@pytest.mark.parametrize(
    ("text", "currency", "comma", "amount"),
    [
        ("10.50", "USD", False, 1050),
        ("-10.5", "USD", False, -1050),
        ("+10", "USD", False, 1000),
        (".05", "USD", False, 5),
        ("10.", "USD", False, 1000),
        ("10.500", "USD", False, 1050),
        ("1,234,567.89", "USD", False, 123_456_789),
        ("1\u00a0234,50", "EUR", True, 123_450),
        ("1.234,5", "EUR", True, 123_450),
        ("1'234.50", "CHF", False, 123_450),
        ("\u22121,00", "EUR", True, -100),
        ("1050", "JPY", False, 1050),
        ("1,050", "JPY", False, 1050),
        ("0.001", "KWD", False, 1),
        ("92233720368547758.07", "USD", False, INT64_MAX),
        ("0.1", "USD", False, 10),
    ],
)
def test_minor_units(text: str, currency: str, comma: bool, amount: int) -> None:  # noqa: FBT001
    assert minor_units(text, currency, decimal_comma=comma) == amount


@pytest.mark.parametrize(
    ("text", "currency", "comma"),
    [
        ("10.505", "USD", False),
        ("1.5", "JPY", False),
        ("", "USD", False),
        (".", "USD", False),
        ("-", "USD", False),
        ("1e3", "USD", False),
        ("NaN", "USD", False),
        ("0x10", "USD", False),
        ("1,23", "USD", False),
        ("12,34,567.00", "USD", False),
        ("1,2345.00", "USD", False),
        ("1.234.50", "USD", False),
        ("10.50", "EUR", True),
        ("1.234.5", "EUR", True),
        ("$10", "USD", False),
        ("10 USD", "USD", False),
        ("--1", "USD", False),
        ("\u0661\u0660", "USD", False),
        ("1" * 65, "USD", False),
        ("1", "XAU", False),
    ],
)
def test_what_is_no_amount_is_told(text: str, currency: str, comma: bool) -> None:  # noqa: FBT001
    with pytest.raises(EntryError):
        minor_units(text, currency, decimal_comma=comma)


@given(st.integers(), st.sampled_from(sorted(MINOR_UNIT_EXPONENTS)))
def test_an_amount_that_was_written_is_read_back(amount: int, currency: str) -> None:
    text = decimal_text(amount, exponent_of(currency))
    if len(text) <= 64:
        assert minor_units(text, currency) == amount


@pytest.mark.parametrize(("text", "amount"), [("17", 17), (" -5 ", -5), ("+1", 1)])
def test_whole_number(text: str, amount: int) -> None:
    assert whole_number(text) == amount


@pytest.mark.parametrize("text", ["", "1.0", "1,000", "1_000", "x", "\u0661"])
def test_what_is_no_whole_number_is_told(text: str) -> None:
    with pytest.raises(EntryError, match="is no whole number of minor units"):
        whole_number(text)


def test_scaled() -> None:
    assert scaled(5, 0, "USD") == 500
    assert scaled(1050, 2, "USD") == 1050
    assert scaled(10_500, 3, "USD") == 1050
    with pytest.raises(EntryError, match="has more than USD, which has 2"):
        scaled(10_501, 3, "USD")
