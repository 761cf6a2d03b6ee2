"""Amounts as people and other programs write them, exactly: whole numbers here, decimals there, never a float."""

import re

from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.errors import EntryError, UnknownCurrencyError

_LENGTH_MAX = 64
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_SPACES = "[ '\u2019\u00a0\u202f]"


def _decimal(mark: str, other: str) -> re.Pattern[str]:
    group = f"(?:{other}|{_SPACES})"
    digits = f"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]+"
    return re.compile(rf"([+-]?)({digits})?(?:{mark}([0-9]*))?", re.ASCII)


_DECIMAL = {False: _decimal(r"\.", ","), True: _decimal(",", r"\.")}


def exponent_of(currency: str) -> int:
    """Return how many decimal places ``currency`` has. Raises UnknownCurrencyError."""
    exponent = MINOR_UNIT_EXPONENTS.get(currency)
    if exponent is None:
        raise UnknownCurrencyError(currency)
    return exponent


def decimal_text(amount: int, exponent: int) -> str:
    """Return ``amount``, in minor units, in major units with ``exponent`` decimal places: -1050 with 2 is -10.50."""
    sign, digits = "-" if amount < 0 else "", str(abs(amount))
    if not exponent:
        return sign + digits
    digits = digits.zfill(exponent + 1)
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"


def whole_number(text: str) -> int:
    """Return the amount in minor units that ``text`` writes. Raises EntryError."""
    text = _plain(text)
    if not _WHOLE.fullmatch(text):
        raise EntryError(f"{text!r} is no whole number of minor units; with --major-units, amounts are in major units")
    return int(text)


def minor_units(text: str, currency: str, *, decimal_comma: bool = False) -> int:
    """Return in minor units what ``text`` writes in major units of ``currency``: -1,234.50, or with ``decimal_comma``
    -1.234,50. Thousands may be grouped, also by spaces or apostrophes.

    Nothing is rounded. Raises EntryError for other texts, and for more decimal places than the currency has.
    """
    text = _plain(text)
    found = _DECIMAL[decimal_comma].fullmatch(text)
    if found is None or not (found[2] or found[3]):
        mark = "comma" if decimal_comma else "point"
        raise EntryError(f"{text!r} is no amount with a decimal {mark}")
    exponent = _known_exponent(currency)
    fraction = found[3] or ""
    kept, beyond = fraction[:exponent].ljust(exponent, "0"), fraction[exponent:]
    if beyond.strip("0"):
        raise EntryError(f"{text!r} has more decimal places than {currency}, which has {exponent}")
    return int(found[1] + re.sub(r"[^0-9]", "", found[2] or "") + kept)


def scaled(amount: int, places: int, currency: str) -> int:
    """Return in minor units of ``currency`` what ``amount`` says in its own, of ``places`` decimal places.

    Nothing is rounded. Raises EntryError.
    """
    exponent = _known_exponent(currency)
    if places <= exponent:
        return amount * int(10 ** (exponent - places))
    kept, beyond = divmod(amount, int(10 ** (places - exponent)))
    if beyond:
        raise EntryError(f"{amount} with {places} decimal places has more than {currency}, which has {exponent}")
    return kept


def _known_exponent(currency: str) -> int:
    try:
        return exponent_of(currency)
    except UnknownCurrencyError as error:
        raise EntryError(f"{currency!r} is not a currency of ISO 4217 with a minor unit") from error


def _plain(text: str) -> str:
    """Return ``text`` with the sign as ASCII has it, and without spaces around. Raises EntryError when it is long."""
    text = text.strip().replace("\u2212", "-")
    if len(text) > _LENGTH_MAX:
        raise EntryError(f"{text[:_LENGTH_MAX]!r}… is no amount")
    return text
