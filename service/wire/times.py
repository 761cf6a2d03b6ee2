"""Times: RFC 3339 with an offset from UTC, and no more digits than the database keeps."""

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from .expectations import expecting
from .values import OUTSIDE_CALENDAR, RULE

# A fraction of a second with more digits than PostgreSQL's six would be rounded, even into the next day.
_TIME_PATTERN = r"^[^.]*(\.[0-9]{1,6}([^0-9.][^.]*)?)?$"
_LEAP_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.[0-9]{2}:[0-9]{2}:60")
_TIME_WORDS = (
    'a time with its date and its offset from UTC (RFC 3339), such as "2026-11-26T09:30:00Z" or'
    ' "2026-11-26T09:30:00.123456+01:00", with no more than six digits of a second'
)

Time = Annotated[
    datetime,
    expecting(_TIME_WORDS, tz=True, description="RFC 3339.", extra_json_schema={"pattern": _TIME_PATTERN}),
]


def read_time(text: str) -> datetime:
    """Return the time that a request writes as ``text``. Raises msgspec.ValidationError for other text, and for more
    digits of a second than are kept.
    """
    return msgspec.convert(msgspec.convert(text, _Digits), Time)


def time_reason(text: str) -> str:
    """Return why ``read_time`` does not take ``text``, and what to send."""
    if _LEAP_SECOND.match(text):
        return "a leap second cannot be kept; send the second before it (:59) or after it (:00)"
    return f"this must be {_TIME_WORDS}"


def _time_fault(text: str) -> str | None:
    try:
        read_time(text).astimezone(UTC)
    except msgspec.ValidationError:
        return time_reason(text)
    except OverflowError:
        return OUTSIDE_CALENDAR
    return None


_Digits = Annotated[str, Meta(min_length=1, pattern=_TIME_PATTERN)]
WrittenTime = Annotated[
    _Digits,
    expecting(
        _TIME_WORDS,
        description="RFC 3339.",
        extra_json_schema={"format": "date-time"},
        extra={RULE: _time_fault},
    ),
]
"""A time as a request writes it: as a text its digits can still be counted. ``read_time`` reads it."""
ValueDate = Annotated[
    WrittenTime,
    Meta(
        description="RFC 3339. The value date, when it is not now. An installation bounds how far it may lie; it never"
        " lies before the day (UTC) on which an account was opened, a capture's not before its hold was opened, a"
        " reversal's not before the value date of its transfer. Left out, it is now, or the earliest that is possible"
        " if that comes later (the reversal of a transfer whose value date lies ahead).",
    ),
]
