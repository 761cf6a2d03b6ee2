"""Query strings: what no route understands is refused, neither ignored nor guessed at."""

import re
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import parse_qs

import msgspec
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from msgspec import Meta

from service.wire.errors import MalformedError, pointer_to
from service.wire.expectations import expectation
from service.wire.times import read_time, time_reason
from service.wire.values import checked

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,19}")
_PLUS_LOST = re.compile(r" [0-9]{2}:?[0-9]{2}$")
_OFFSET_LENGTH_MAX = 6
_PARAMETERS_MAX = 100
_BOOLEANS = {"true": True, "false": False}
_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")


def check_query(query_string: bytes, handler: BaseRouteHandler) -> None:
    """Check that a query has only parameters of ``handler``, each once (a list: as often as it likes), each of its
    type, and those that are required: a filter misspelt or misread must not answer as if there were none.

    Litestar converts laxly (`1e1` is an integer, `5` a time) and forgets the bounds of types, so nothing is left to
    it. Raises MalformedError, also for NUL, which PostgreSQL's text cannot hold.
    """
    known = query_types(handler)
    try:
        parameters = parse_qs(
            query_string.decode(), keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS_MAX
        )
    except UnicodeDecodeError:
        raise MalformedError("/query", "not UTF-8; send text as percent-encoded UTF-8 (%C3%A9 for é)") from None
    except ValueError:
        raise MalformedError("/query", f"a query has at most {_PARAMETERS_MAX} parameters") from None
    for name, values in parameters.items():
        pointer = pointer_to("query", name)
        if name not in known:
            raise MalformedError(pointer, f"this operation has no such parameter; {_listed(known)}")
        if any("\x00" in value for value in values):
            raise MalformedError(pointer, "a value has no NUL (%00); leave it out")
        try:
            checked(known[name], _convert(values, known[name]), pointer)
        except msgspec.ValidationError:
            raise MalformedError(pointer, _reason(values, known[name])) from None
    for name in known:
        if name in required_parameters(handler) and name not in parameters:
            raise MalformedError(pointer_to("query", name), f"this is missing; it must be {expectation(known[name])}")


def _listed(known: Iterable[str]) -> str:
    names = ", ".join(known)
    return f"it has {names}" if names else "it has none"


def _reason(values: list[str], kind: Any) -> str:
    """Return what a parameter of the type ``kind`` must be that was not as ``values`` are."""
    if len(values) > 1 and not _is_list(kind):
        return "this is given more than once; give it once"
    if _plain(kind) is not datetime:
        return f"this must be {expectation(kind)}"
    reason = time_reason(values[0])
    if _PLUS_LOST.search(values[0][-_OFFSET_LENGTH_MAX:]):
        reason += "; in a query a plus sign is written %2B (a bare + is read as a space)"
    return reason


@cache
def required_parameters(handler: BaseRouteHandler) -> frozenset[str]:
    """Return the names of the handler's query parameters without which it cannot be called."""
    return frozenset(
        field.kwarg_definition.name or name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter) and field.is_required
    )


@cache
def query_types(handler: BaseRouteHandler) -> dict[str, Any]:
    """Return the types of the handler's query parameters by name, with their bounds and without null: a parameter
    that is given has a value.
    """
    types = {}
    for name, field in handler.parsed_fn_signature.parameters.items():
        definition = field.kwarg_definition
        if isinstance(definition, QueryParameter):
            bounds = {bound: getattr(definition, bound) for bound in _BOUNDS if getattr(definition, bound) is not None}
            types[definition.name or name] = _bounded(field.raw, bounds)
    return types


def _bounded(annotation: Any, bounds: dict[str, Any]) -> Any:
    """Return ``annotation`` without null and Litestar's own marks, held to ``bounds``."""
    plain, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if get_origin(plain) in {Union, UnionType}:
        plain = Union[tuple(part for part in get_args(plain) if part is not NoneType)]  # noqa: UP007
    metas = [mark for mark in marks if isinstance(mark, Meta)]
    if bounds:
        metas.append(Meta(**bounds))
    return Annotated[(plain, *metas)] if metas else plain


def _plain(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _is_list(kind: Any) -> bool:
    return get_origin(_plain(kind)) is list


def _convert(values: list[str], kind: Any) -> Any:
    """Return the value that the texts ``values`` stand for. Raises msgspec.ValidationError."""
    if _is_list(kind):
        return msgspec.convert(values, kind)
    if len(values) > 1:
        raise msgspec.ValidationError
    [text] = values
    plain = _plain(kind)
    if plain is int and _INTEGER.fullmatch(text):
        return msgspec.convert(int(text), kind)
    if plain is bool:
        return msgspec.convert(_BOOLEANS.get(text, text), kind)
    if plain is datetime:
        return read_time(text)
    return msgspec.convert(text, kind)
