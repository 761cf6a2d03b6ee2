"""The formats that the document uses, checked to the letter."""

import re
from datetime import datetime
from uuid import UUID

from jsonschema import FormatChecker

FORMATS = FormatChecker(formats=())

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@FORMATS.checks("uuid", raises=ValueError)
def is_uuid(value: object) -> bool:
    """RFC 9562: 36 characters, as a UUID is written."""
    return not isinstance(value, str) or str(UUID(value)) == value.lower()


@FORMATS.checks("int64")
def is_int64(value: object) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


@FORMATS.checks("int32")
def is_int32(value: object) -> bool:
    return not isinstance(value, int) or -(2**31) <= value < 2**31


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    """RFC 3339 and a day that exists."""
    if not isinstance(value, str):
        return True
    return bool(_DATE_TIME.fullmatch(value)) and bool(datetime.fromisoformat(value.upper()))
