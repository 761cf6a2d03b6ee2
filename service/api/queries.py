"""Query strings: what no route understands is refused, neither ignored nor guessed at."""

import re
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import parse_qs

import msgspec
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from msgspec import Meta

from service.api.problems import malformed
from service.api.values import checked

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,19}")
_BOOLEANS = {"true": True, "false": False}
_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")


def check_query(query_string: bytes, handler: BaseRouteHandler) -> None:
    """Check that a query has only parameters of ``handler``, each once (a list: as often as it likes), each of its
    type: a filter misspelt or misread must not answer as if there were none.

    Litestar converts laxly (`1e1` is an integer, `5` a time) and forgets the bounds of types, so nothing is left to
    it. Raises ProblemError (malformed_request), also for NUL, which PostgreSQL's text cannot hold.
    """
    known = query_types(handler)
    try:
        parameters = parse_qs(query_string.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise malformed("/query", "not UTF-8; send text as percent-encoded UTF-8 (%C3%A9 for é)") from None
    for name, values in parameters.items():
        pointer = f"/query/{name}"
        if name not in known:
            raise malformed(pointer, "this operation has no such parameter")
        if any("\x00" in value for value in values):
            raise malformed(pointer, "NUL is not allowed")
        try:
            checked(known[name], _convert(values, known[name]), pointer)
        except msgspec.ValidationError as error:
            raise malformed(pointer, str(error)) from None


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


def _convert(values: list[str], kind: Any) -> Any:
    """Return the value that the texts ``values`` stand for. Raises msgspec.ValidationError."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) is list:
        return msgspec.convert(values, kind)
    if len(values) > 1:
        raise msgspec.ValidationError("given more than once")
    [text] = values
    if plain is int and _INTEGER.fullmatch(text):
        return msgspec.convert(int(text), kind)
    if plain is bool:
        return msgspec.convert(_BOOLEANS.get(text, text), kind)
    return msgspec.convert(text, kind)
