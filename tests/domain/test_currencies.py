import pytest

from service.domain.currencies import MINOR_UNIT_EXPONENTS


@pytest.mark.parametrize(("currency", "exponent"), [("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
def test_currencies_have_the_exponent_of_the_standard(currency: str, exponent: int) -> None:
    assert MINOR_UNIT_EXPONENTS[currency] == exponent


@pytest.mark.parametrize("code", ["XAU", "XAG", "XXX", "XTS", "XDR"])
def test_what_has_no_minor_unit_is_no_currency_here(code: str) -> None:
    assert code not in MINOR_UNIT_EXPONENTS


def test_codes_are_three_capital_letters_and_exponents_are_small() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in MINOR_UNIT_EXPONENTS)
    assert set(MINOR_UNIT_EXPONENTS.values()) <= {0, 2, 3, 4}
    assert len(MINOR_UNIT_EXPONENTS) > 150
