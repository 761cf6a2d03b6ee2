"""The currencies of ISO 4217 and their minor units."""

from iso4217 import Currency

MINOR_UNIT_EXPONENTS: dict[str, int] = {
    currency.code: currency.exponent for currency in Currency if currency.exponent is not None
}
"""Decimal places between the major and the minor unit: USD 2, JPY 0, KWD 3.

Codes to which ISO 4217 gives no minor unit (XAU, XXX and their like) are absent: an amount in them has no meaning.
"""
