"""Request bodies: how Litestar has ``data`` decoded, by the strict decoding that all JSON of the wire goes through."""

from functools import cache
from typing import Any, TypeVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.handlers import BaseRouteHandler
from litestar.typing import FieldDefinition

from service.api.http.problems import BODY_REQUIRED
from service.wire.decoding import decode
from service.wire.errors import MalformedError

T = TypeVar("T")


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
        """Return the decoded body. Raises MalformedError that points at the fault."""
        return self.decode_for(self.asgi_connection.route_handler, value)

    @classmethod
    def decode_for(cls, handler: BaseRouteHandler, body: bytes) -> Any:
        """Return the ``data`` of ``handler`` in ``body``. Raises MalformedError."""
        if not body:
            raise MalformedError("", BODY_REQUIRED)
        return decode(_decoder(handler), body)

    def decode_builtins(self, value: Any) -> Any:
        """Not for forms."""
        raise MalformedError("", "the body must be JSON")

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
