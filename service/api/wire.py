"""Request bodies: decoded once, strictly, by msgspec."""

import re
from functools import cache
from typing import Any, TypeVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.handlers import BaseRouteHandler
from litestar.typing import FieldDefinition

from service.api.problems import BODY_REQUIRED, ProblemError, malformed
from service.api.values import checked

T = TypeVar("T")

_ERROR_PATH = re.compile(r" - at (?:`key` in )?`\$(?P<path>.*)`$")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)


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


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return ``body`` decoded. Raises ProblemError (malformed_request) with a JSON pointer to the fault."""
    try:
        return checked(decoder.type, decoder.decode(body))
    except msgspec.ValidationError as error:
        raise fault(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed("", f"not valid JSON ({error})") from None


def fault(message: str) -> ProblemError:
    """Turn msgspec's message ("Expected `int` - at `$.items[0].amount`") into a problem that points at the place."""
    match = _ERROR_PATH.search(message)
    path = match["path"] if match else ""
    pointer = re.sub(r"\.|\[", "/", path.replace("[...]", "")).replace("]", "")
    reason = message[: match.start()] if match else message
    unknown = _UNKNOWN_FIELD.fullmatch(reason)
    if unknown is not None:
        pointer += "/" + unknown["name"].replace("~", "~0").replace("/", "~1")
    return malformed(pointer, reason)
