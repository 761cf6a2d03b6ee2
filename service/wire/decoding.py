"""JSON decoded strictly: by its type and by the rules of texts and times, with every member said once."""

import json
from collections import Counter
from collections.abc import Hashable, Iterator
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import inspect

from . import faults
from .errors import MalformedError, pointer_to
from .values import checked, has_rules

T = TypeVar("T")

SAID_TWICE = "this member is there more than once; send it once: readers differ in which one counts"

_decode_untyped = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def decode(decoder: msgspec.json.Decoder[T], body: bytes, *, pointer: str = "") -> T:
    """Return ``body`` decoded, which stands at ``pointer`` in the whole body. Raises MalformedError that
    points at the fault.
    """
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise faults.of_content(error, decoder.type, pointer=pointer) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise faults.of_json(body, error, pointer=pointer) from None
    if is_shortest(body, texts_min(cast("Hashable", decoder.type))):
        return value
    try:
        once = says_once(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # in what the type has no place for
        raise faults.of_json(body, error, pointer=pointer) from None
    if not once:
        raise said_twice(body, pointer=pointer)
    return checked(decoder.type, value, pointer)


def is_shortest(body: bytes, texts: int) -> bool:
    """Whether ``body``, which was decoded, has no more texts (names included) than the ``texts`` that its type cannot
    do without. Then no member is there twice, and none that is optional: those alone have rules beside msgspec's.
    """
    return body.count(b'"') == 2 * texts and b"\\" not in body


def says_once(body: bytes) -> bool:
    """Whether every object in ``body``, which must be JSON, says each of its members once, however names are escaped.

    Decoded without a type an object keeps a name once, so that written again it has fewer texts than there were: it is
    enough to count them. (A millionth of a second a transfer, all of it in C; looking at every pair costs three.)
    """
    written = _encode(_decode_untyped(body))
    if b"\\" in body:
        return count_texts(body) == count_texts(written)
    return body.count(b'"') == written.count(b'"')


@cache
def texts_min(kind: Hashable) -> int:
    """Return how many texts, names included, every value of the type ``kind`` has at least when it is written; -1,
    which no body has, for a type with rules (``values.checked``) beside those of its optional members.
    """
    info = inspect.type_info(kind)
    needed = [field.type for field in info.fields if field.required] if isinstance(info, inspect.StructType) else [info]
    return -1 if any(has_rules(one) for one in needed) else _texts_min(info)


def _texts_min(info: inspect.Type) -> int:
    match info:
        case inspect.Metadata(type=plain):
            return _texts_min(plain)
        case inspect.StructType(fields=fields):
            return sum(1 + _texts_min(field.type) for field in fields if field.required)
        case inspect.UnionType(types=types):
            return min(map(_texts_min, types))
        case inspect.StrType() | inspect.UUIDType() | inspect.DateTimeType():
            return 1
    return 0


def count_texts(content: bytes) -> int:
    """Return twice the number of texts in ``content``, names included: the quotation marks that are not escaped."""
    if b"\\" not in content:
        return content.count(b'"')
    return content.replace(rb"\\", b"").replace(rb"\"", b"").count(b'"')


def said_twice(content: bytes, *, pointer: str = "") -> MalformedError:
    """Return the fault of the outermost member that an object in ``content`` says twice."""
    repeated: dict[int, tuple[dict[str, Any], str]] = {}  # holds the objects, so that no two have one identity

    def to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
            repeated[id(members)] = members, name
        return members

    def places(value: Any, *steps: str) -> Iterator[tuple[str, ...]]:
        if id(value) in repeated:
            yield *steps, repeated[id(value)][1]
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for step, one in inner:
            yield from places(one, *steps, str(step))

    whole = json.loads(content, object_pairs_hook=to_object)
    return MalformedError(pointer + pointer_to(*next(places(whole))), SAID_TWICE)
