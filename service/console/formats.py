"""How pages write amounts, times and identifiers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.journals.amounts import decimal_text

MINUS = "\u2212"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_GROUPS = re.compile(r"(?<=\d)(?=(?:\d{3})+$)")
_KILO = 1000


def number(value: int | str) -> str:
    """Return a whole number with its digits in groups of three."""
    sign, digits = (MINUS, str(value)[1:]) if str(value).startswith("-") else ("", str(value))
    return sign + _GROUPS.sub(",", digits)


def money(amount: int | str, currency: str) -> str:
    """Return ``amount``, in minor units, in major units of ``currency``, without its code: −1,234.50. In a currency
    that has no minor unit by ISO 4217 it is written as it is.
    """
    whole, point, fraction = decimal_text(int(amount), MINOR_UNIT_EXPONENTS.get(currency, 0)).partition(".")
    return f"{number(whole) if whole != '-0' else MINUS + '0'}{point}{fraction}"


def rough(amount: float) -> str:
    """Return about how much ``amount`` is, for the scale of a chart: 1.2k, 35M."""
    for suffix in ("", "k", "M", "G", "T", "P"):
        if abs(amount) < _KILO or suffix == "P":
            break
        amount /= _KILO
    return f"{amount:.3g}".replace("-", MINUS) + suffix


def day(time: datetime) -> str:
    """Return the day of ``time`` in UTC: 28 Nov 2026."""
    time = time.astimezone(UTC)
    return f"{time.day} {_MONTHS[time.month - 1]} {time.year}"


def moment_text(time: datetime, *, fraction: bool = False) -> str:
    """Return ``time`` in UTC, to the second, or with all of its digits: 28 Nov 2026, 03:14:15."""
    time = time.astimezone(UTC)
    return f"{day(time)}, {time:%H:%M:%S}" + (f".{time.microsecond:06d}" if fraction else "")


def moment(time: datetime | None, *, fraction: bool = False) -> Markup | str:
    """Return ``time`` in UTC for people and programs, to the second, or with all of its digits."""
    if time is None:
        return "\u2014"
    exact, text = iso(time), moment_text(time, fraction=fraction)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, exact, text)


def iso(time: datetime) -> str:
    """Return ``time`` as the API takes it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def short(identifier: object) -> str:
    """Return the last eight digits of an identifier, which is where two of one moment differ."""
    return str(identifier)[-8:]


def words(code: str) -> str:
    """Return a code of the API as words: insufficient_funds is Insufficient funds."""
    return code.replace("_", " ").replace(".", " ").capitalize()


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "money": money,
    "rough": rough,
    "day": day,
    "moment": moment,
    "text": moment_text,
    "iso": iso,
    "short": short,
    "words": words,
}
