"""Request bodies: decoded strictly by msgspec, and refused where an object says a member twice."""

import json
from collections import Counter
from collections.abc import Hashable, Iterator
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from litestar.dto import AbstractDTO
from litestar.handlers import BaseRouteHandler
from litestar.typing import FieldDefinition
from msgspec import inspect

from service.api import faults
from service.api.problems import BODY_REQUIRED, ProblemError, malformed, pointer_to
from service.api.values import checked, has_rules

T = TypeVar("T")

SAID_TWICE = "this member is there more than once; send it once: readers differ in which one counts"

_decode_untyped = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class StrictJSON(AbstractDTO[T]):
    """Decodes a handler's ``data`` from JSON by its annotation, without Litestar's lax conversions ("1" is no integer).

    The OpenAPI document describes the annotation itself.
    """

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Unused: nothing is generated."""

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        """Describe the annotation as it is."""
        return schema_creator.for_field_definition(field_definition)

    def decode_bytes(self, value: bytes) -> Any:
        """Return the decoded body. Raises ProblemError (malformed_request) that points at the fault."""
        return self.decode_for(self.asgi_connection.route_handler, value)

    @classmethod
    def decode_for(cls, handler: BaseRouteHandler, body: bytes) -> Any:
        """Return the ``data`` of ``handler`` in ``body``. Raises ProblemError (malformed_request)."""
        if not body:
            raise malformed("", BODY_REQUIRED)
        return decode(_decoder(handler), body)

    def decode_builtins(self, value: Any) -> Any:
        """Not for forms."""
        raise malformed("", "the body must be JSON")

    def data_to_encodable_type(self, data: Any) -> Any:
        """Answers are encoded as they are."""
        return data

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Any:
        """Unused: nothing is generated."""
        return iter(())

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Unused: nothing is generated."""
        return False


@cache
def _decoder(handler: BaseRouteHandler) -> msgspec.json.Decoder[Any]:
    """Return the decoder of the handler's ``data``, made at its first request."""
    return msgspec.json.Decoder(handler.parsed_fn_signature.parameters["data"].annotation)


def decode(decoder: msgspec.json.Decoder[T], body: bytes, *, pointer: str = "") -> T:
    """Return ``body`` decoded, which stands at ``pointer`` in the request's body. Raises ProblemError
    (malformed_request) with a JSON pointer to the fault.
    """
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise faults.of_content(error, decoder.type, pointer=pointer) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise faults.of_json(body, error, pointer=pointer) from None
    if is_shortest(body, texts_min(cast("Hashable", decoder.type))):
        return value
    if not says_once(body):
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


def said_twice(content: bytes, *, pointer: str = "") -> ProblemError:
    """Return the problem of the outermost member that an object in ``content`` says twice."""
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
    return malformed(pointer + pointer_to(*next(places(whole))), SAID_TWICE)
