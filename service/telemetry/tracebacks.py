"""Exceptions as text without anything that a caller sent: a database's error is reduced to what may be logged."""

import sys
import traceback
from collections.abc import Iterator
from types import TracebackType

from service.storage.errors import described

_CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"


def format_exception(error: BaseException) -> str:
    """Return ``error`` and its causes as Python writes them, except those of the database: its errors get the text of
    ``storage.errors.described``, and the exceptions inside its driver that caused them no text.
    """
    return "".join(_lines(error, set(), silent=False)).rstrip("\n")


def print_exception(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    """Write ``error`` to standard error. The function is a ``sys.excepthook``."""
    sys.stderr.write(format_exception(error) + "\n")


def _lines(error: BaseException, seen: set[int], *, silent: bool) -> Iterator[str]:
    seen.add(id(error))
    text = described(error)
    inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if inner is not None and id(inner) not in seen:
        yield from _lines(inner, seen, silent=silent or text is not None)
        yield _CAUSED if inner is error.__cause__ else _MEANWHILE
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    yield from _own_lines(error, text, silent=silent)
    if isinstance(error, BaseExceptionGroup):
        for number, member in enumerate(error.exceptions, 1):
            yield f"\nException {number} of the group:\n\n"
            if id(member) not in seen:
                yield from _lines(member, seen, silent=silent)


def _own_lines(error: BaseException, text: str | None, *, silent: bool) -> list[str]:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if text is not None:
        return [f"{name}: {text}\n"]
    if silent:
        return [f"{name}\n"]
    return traceback.format_exception_only(error)
