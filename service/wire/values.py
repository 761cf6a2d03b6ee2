"""What msgspec's types cannot say of a value: the rules of texts, and that a time is one in UTC.

A type says by ``Meta(extra={RULE: …})`` which rule its texts keep; whatever is decoded by such a type
is held to it here, in bodies, queries, cursors and imports alike.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import compress
from operator import attrgetter
from typing import Any, TypeVar

from msgspec import inspect

from .errors import MalformedError

T = TypeVar("T")

RULE = "rule"
"""The name in a Meta's ``extra`` of the function that returns what is wrong with a text, None when nothing is."""
OUTSIDE_CALENDAR = "outside the calendar: in UTC it must lie in the years 1 to 9999"

Fault = tuple[str, str]
"""A JSON pointer from the value to what is wrong, and the reason."""
Check = Callable[[Any], Fault | None]


def checked(kind: Any, value: T, pointer: str = "") -> T:
    """Return ``value``, which was decoded as ``kind`` and stands at ``pointer`` in the request.

    Raises MalformedError when a text in it breaks its rule, or a time lies outside the calendar in UTC.
    """
    check = check_of(kind)
    fault = None if check is None else check(value)
    if fault is not None:
        raise MalformedError(pointer + fault[0], fault[1])
    return value


@cache
def check_of(kind: Any) -> Check | None:
    """Return what checks the values of the type ``kind``; None when there is nothing to check."""
    return _check_of(inspect.type_info(kind))


def has_rules(info: inspect.Type) -> bool:
    """Whether there is something to check in values of the type that ``info`` describes."""
    return _check_of(info) is not None


def _check_of(info: inspect.Type) -> Check | None:
    check: Check | None = None
    match info:
        case inspect.Metadata(extra={"rule": rule}):
            check = _text(rule)
        case inspect.Metadata(type=plain):
            check = _check_of(plain)
        case inspect.DateTimeType():
            check = _time
        case inspect.UnionType(types=types):
            checks = [found for one in types if (found := _check_of(one)) is not None]
            assert len(checks) <= 1, "no type of ours has several kinds of values that have rules"
            check = checks[0] if checks else None
        case inspect.ListType(item_type=one):
            check = _items(_check_of(one))
        case inspect.DictType(key_type=name, value_type=one):
            check = _entries(_check_of(name), _check_of(one))
        case inspect.StructType(fields=fields):
            check = _members({one.name: found for one in fields if (found := _check_of(one.type)) is not None})
    return check


def _text(rule: Callable[[str], str | None]) -> Check:
    def check(text: str) -> Fault | None:
        reason = rule(text)
        return None if reason is None else ("", reason)

    return check


def _time(time: datetime) -> Fault | None:
    try:
        time.astimezone(UTC)
    except OverflowError:
        return "", OUTSIDE_CALENDAR
    return None


def _items(check: Check | None) -> Check | None:
    if check is None:
        return None

    def each(items: list[Any]) -> Fault | None:
        for index, item in enumerate(items):
            fault = check(item)
            if fault is not None:
                return f"/{index}{fault[0]}", fault[1]
        return None

    return each


def _entries(name_check: Check | None, value_check: Check | None) -> Check | None:
    if name_check is None or value_check is None:
        assert name_check is value_check, "the maps of ours have rules for names and values, or none"
        return None

    def each(entries: dict[str, Any]) -> Fault | None:
        for name, value in entries.items():
            fault = name_check(name)
            if fault is not None:
                return "", f"the name {json.dumps(name)}: {fault[1]}"
            fault = value_check(value)
            if fault is not None:
                return "", f"the value of {json.dumps(name)}: {fault[1]}"
        return None

    return each


def _members(checks: dict[str, Check]) -> Check | None:
    if not checks:
        return None
    first, *others = checks
    # One name makes attrgetter return a value instead of a tuple of them.
    values = attrgetter(*checks) if others else lambda struct: (getattr(struct, first),)
    names, each_check = tuple(checks), tuple(checks.values())
    places = range(len(names))

    def each(struct: Any) -> Fault | None:
        given = values(struct)
        for place in compress(places, given):  # what is neither null nor absent nor empty
            fault = each_check[place](given[place])
            if fault is not None:
                return f"/{names[place]}{fault[0]}", fault[1]
        return None

    return each
