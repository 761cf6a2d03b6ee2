"""What a request may say at each of its places, in words: read from the types that decode it.

A type says it itself where the words need an example (``expecting``); of the others the words follow from the type. So
every member and parameter has its sentence, and no message of msgspec's, which speaks of Python and of regular
expressions, is ever shown.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec import Meta, inspect

_EXPECTED = "expected"


def expecting(words: str, *, extra: dict[str, Any] | None = None, **bounds: Any) -> Meta:
    """Return the bounds of a type together with the words for what it takes: they follow "must be"."""
    return Meta(extra={_EXPECTED: words} | (extra or {}), **bounds)


@cache
def expectation(kind: Any) -> str:
    """Return what a value of the type ``kind`` must be: words that follow "must be", with an example."""
    return _words(inspect.type_info(kind))


def expectation_at(kind: Any, path: Sequence[str]) -> str | None:
    """Return what must stand at ``path`` under a value of the type ``kind``: names of members and indices of
    lists. None where the type has no such place.
    """
    found = _at(inspect.type_info(kind), path)
    return None if found is None else _words(found)


def members_at(kind: Any, path: Sequence[str]) -> list[str]:
    """Return the names of the members that the object at ``path`` may have; none where it may have any."""
    found = _at(inspect.type_info(kind), path)
    return [] if found is None else [field.encode_name for part in _alternatives(found) for field in _fields(part)]


def expects_whole_number(kind: Any, path: Sequence[str]) -> bool:
    """Whether a whole number may stand at ``path``."""
    found = _at(inspect.type_info(kind), path)
    return found is not None and any(isinstance(_bare(part), inspect.IntType) for part in _alternatives(found))


def _at(info: inspect.Type, path: Sequence[str]) -> inspect.Type | None:
    if not path:
        return info
    step, *rest = path
    for part in _alternatives(info):
        bare = _bare(part)
        inner = None
        if isinstance(bare, inspect.StructType):
            inner = next((field.type for field in _fields(bare) if field.encode_name == step), None)
        elif isinstance(bare, inspect.ListType):
            inner = bare.item_type
        found = None if inner is None else _at(inner, rest)
        if found is not None:
            return found
    return None


def _bare(info: inspect.Type) -> inspect.Type:
    return _bare(info.type) if isinstance(info, inspect.Metadata) else info


def _alternatives(info: inspect.Type) -> tuple[inspect.Type, ...]:
    """Return the types of a union; another type is its only one."""
    bare = _bare(info)
    return bare.types if isinstance(bare, inspect.UnionType) else (info,)


def _fields(info: inspect.Type) -> tuple[inspect.Field, ...]:
    bare = _bare(info)
    return bare.fields if isinstance(bare, inspect.StructType) else ()


def _words(info: inspect.Type) -> str:
    while isinstance(info, inspect.Metadata):
        if info.extra and _EXPECTED in info.extra:
            return str(info.extra[_EXPECTED])
        info = info.type
    match info:
        case inspect.UnionType():
            words = ", or ".join(_words(part) for part in info.types)
        case inspect.StructType():
            words = _object_words(info)
        case inspect.LiteralType():
            words = " or ".join(json.dumps(value) for value in info.values)
        case inspect.ListType():
            words = f"a list {_counted(info.min_length, info.max_length, 'entries')}, each {_words(info.item_type)}"
        case inspect.StrType():
            words = f"a text {_counted(info.min_length, info.max_length, 'characters')}"
        case inspect.IntType():
            words = f"a whole number from {info.ge} to {info.le}, such as {info.ge}"
        case _:
            words = _SIMPLE[type(info)]
    return words


_SIMPLE: dict[type[inspect.Type], str] = {
    inspect.NoneType: "null",
    inspect.BoolType: "true or false",
    inspect.DictType: "an object",
    inspect.AnyType: "any JSON value",
    inspect.UUIDType: 'an identifier as this service gives them, such as "0193a6b2-7c1d-7e4f-8a9b-0c1d2e3f4a5b"',
}


def _object_words(info: inspect.StructType) -> str:
    required = ", ".join(f'"{field.encode_name}"' for field in info.fields if field.required)
    optional = ", ".join(f'"{field.encode_name}"' for field in info.fields if not field.required)
    if not optional:
        return f"an object with {required}"
    return (
        f"an object with {required} and, if wanted, {optional}" if required else f"an object, if wanted with {optional}"
    )


def _counted(least: int | None, most: int | None, what: str) -> str:
    if most is None:
        return f"of {what}" if not least else f"of at least {least} {what}"
    return f"of {least} to {most} {what}" if least else f"of at most {most} {what}"
