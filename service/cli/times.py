"""Times and days as people and files write them."""

from datetime import UTC, date, datetime, time

import click
import msgspec

from service.wire.times import read_time

_DAY_LENGTH = len("2026-11-26")


def read_day_or_time(text: str) -> datetime:
    """Return the time that ``text`` writes, in UTC, or the beginning (UTC) of the day. Raises ValueError (also
    msgspec.ValidationError) and OverflowError.
    """
    if len(text) == _DAY_LENGTH:
        return datetime.combine(msgspec.convert(text, date), time(), tzinfo=UTC)
    return read_time(text).astimezone(UTC)


def day_or_time(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Return what ``read_day_or_time`` does of an option's value. Raises BadParameter."""
    if value is None:
        return None
    try:
        return read_day_or_time(value)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            "write a day, such as 2026-11-26, or a time with its offset from UTC, such as 2026-11-26T09:30:00Z."
        ) from None
