"""What is wrong with a body, told in words: where it stands, what must be there, and an example of it.

Of a message of msgspec's only the kind of fault and the place are read, from its two ends, which are of bounded length:
what stands between may be a text of the client's, as long as the body.
"""

import re
from typing import Any

import msgspec

from .errors import MalformedError, pointer_to
from .expectations import expectation_at, expects_whole_number, members_at

_END_LENGTH_MAX = 256
_PLACE = " - at `"
_STEP = re.compile(r"\.(\w+)|\[([0-9]+|\.\.\.)\]")
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")
_TAIL_BYTES = 16
_BYTE = re.compile(r"\(byte ([0-9]+)\)$")

_UNKNOWN = "Object contains unknown field `"
_MISSING = "Object missing required field `"
_TOO_LARGE = ("Number out of range", "Integer value out of range")
_KINDS = {
    "int": "a whole number",
    "float": "a number with a decimal point or an exponent",
    "str": "a text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_REWRITTEN = {
    "float": "write 1 for 1.0, and 1000 for 1e3",
    "str": 'write it without quotation marks, 35 instead of "35"',
}
_SYNTAX = {
    "truncated": "it is empty, or ends before it is complete",
    "surrogate": r"a text has half of a pair of surrogates (U+1F3E6, for one, is written \ud83c\udfe6)",
    "trailing characters": "something follows the JSON value",
    "trailing comma": "a comma has nothing behind it",
    "object keys must be strings": "a member's name stands without quotation marks",
    "invalid number": "a number is not written as JSON wants it, such as -12 or 1050",
    "invalid escape": "a text has a backslash that begins no escape",
}
_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "it begins with a byte order mark; send the JSON without it",
    b"\xff\xfe": "it begins as UTF-16 does; send UTF-8, without a byte order mark",
    b"\xfe\xff": "it begins as UTF-16 does; send UTF-8, without a byte order mark",
}
_EXAMPLE = 'send one JSON object in UTF-8, such as {"amount": 1050}'


def of_content(error: msgspec.ValidationError, kind: Any, *, pointer: str = "") -> MalformedError:
    """Return what is wrong with JSON at ``pointer`` that is not what ``kind`` takes."""
    told, steps, inside = _told_and_place(str(error), kind)
    place = pointer + pointer_to(*steps)
    if error.__cause__ is not None:  # a rule of our own, in its own words
        return MalformedError(place, told)
    if told.startswith(_UNKNOWN):
        name = told.removeprefix(_UNKNOWN).removesuffix("`")
        known = ", ".join(members_at(kind, steps))
        return MalformedError(place + pointer_to(name), f"there is no such member here; there are {known}")
    if told.startswith(_MISSING):
        name = told.removeprefix(_MISSING).removesuffix("`")
        expected = expectation_at(kind, [*steps, name])
        return MalformedError(place, f'the member "{name}" is missing; it must be {expected}')
    was = _was(told, "one in it" if inside else "it", whole_number=expects_whole_number(kind, steps))
    return MalformedError(place, f"this must be {expectation_at(kind, steps)}{was}")


def of_json(body: bytes, error: Exception, *, pointer: str = "") -> MalformedError:
    """Return what is wrong with a body, or of a part of one at ``pointer``, that is no JSON in UTF-8."""
    return MalformedError(pointer, f"not valid JSON: {_why_no_json(body, error)}")


def _told_and_place(message: str, kind: Any) -> tuple[str, list[str], bool]:
    """Split msgspec's message into what it tells, cut, and the place: "… - at `$.transfers[0].amount`".

    A name or a value of a map has no place of its own: the place is the map's, and the last of the three is true.
    """
    end = message[-_END_LENGTH_MAX:]
    before, found, place = end.rpartition(_PLACE)
    place = place.removeprefix("key` in `")
    if not (found and place.startswith("$") and place.endswith("`")):
        return message[:_END_LENGTH_MAX], [], False
    told = message[: len(message) - len(end) + len(before)][:_END_LENGTH_MAX]
    steps = [name or index for name, index in _STEP.findall(place) if index != "..."]
    return told, steps if expectation_at(kind, steps) is not None else [], "[...]" in place


def _was(told: str, subject: str, *, whole_number: bool) -> str:
    """Return what ``subject`` was instead of what must be, as far as msgspec tells, and how to write it."""
    got = told.rpartition("got `")[2].removesuffix("`")
    if told.startswith(_TOO_LARGE):
        return "; the number is too large"
    if got not in _KINDS:
        return ""
    if whole_number and got in _REWRITTEN:
        return f"; {subject} was {_KINDS[got]}: {_REWRITTEN[got]}"
    return f"; {subject} was {_KINDS[got]}"


def _why_no_json(body: bytes, error: Exception) -> str:
    """Return what keeps ``body`` from being JSON in UTF-8, and what to send."""
    mark = next((words for mark, words in _BYTE_ORDER_MARKS.items() if body.startswith(mark)), None)
    if mark is not None:
        return mark
    if isinstance(error, RecursionError):
        return "it is nested too deeply; no request needs more than five levels"
    if isinstance(error, UnicodeDecodeError):
        return "a text in it is not UTF-8; send UTF-8"
    message = str(error)
    if message.startswith("Input data was truncated") and _SURROGATE.search(body[-_TAIL_BYTES:]):
        return _SYNTAX["surrogate"]  # the second half was looked for beyond the end
    place = _BYTE.search(message)
    after = "" if place is None else f" after {place[1]} bytes"
    broken = next((words for sign, words in _SYNTAX.items() if sign in message), "a character has no place there")
    return f"{broken}{after}; {_EXAMPLE}"
