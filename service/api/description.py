"""The OpenAPI document made true: what Litestar writes down by itself is completed and put right."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import OpenAPIHeader, OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Schema
from litestar.params import HeaderParameter
from litestar.routes import HTTPRoute
from msgspec import Meta, Struct

from service.api import problems
from service.api.catalogue import CATALOGUE
from service.api.context import AS_OF_HEADER
from service.api.idempotency import KEY_HEADER_LENGTH_MAX, KEY_PATTERN
from service.api.paths import CANONICAL_UUID
from service.api.preconditions import IF_MATCH_PATTERN
from service.api.problems import ProblemDetails
from service.api.queries import query_types
from service.api.schemas import LedgerName

_KEY_CODES = ["idempotency_key_required", "idempotency_key_invalid"]
_HEADERS = {
    "Idempotency-Key": Annotated[str, Meta(pattern=KEY_PATTERN, max_length=KEY_HEADER_LENGTH_MAX)],
    "If-Match": Annotated[str, Meta(pattern=IF_MATCH_PATTERN)],
}
_INT32_MAX, _INT64 = 2**31 - 1, 2**63
_REF = "#/components/schemas/{name}"


class _Described(Struct, frozen=True):
    """An operation of the document and the handler that it describes. ``operation`` is Litestar's Operation, whose
    type allows references everywhere; there are none.
    """

    path: str
    method: str
    handler: HTTPRouteHandler
    operation: Any


def complete(app: Litestar) -> None:
    """Complete the document of ``app``: schemas, problems, headers, and which operations are open to everyone."""
    described = list(_described(app))
    for one in described:
        if not one.path.startswith("/v1/"):
            one.operation.security = []
        _add_problems(one)
        for status, response in one.operation.responses.items():
            response.headers = _response_headers(one, int(status))
    app.openapi_schema.components.schemas = _replace_schemas(described)


def _described(app: Litestar) -> Iterator[_Described]:
    paths = app.openapi_schema.paths or {}
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path_format not in paths:
            continue
        for handler in route.route_handlers:
            for method in handler.http_methods:
                operation = getattr(paths[route.path_format], method.lower())
                if operation is not None:
                    yield _Described(route.path_format, method.lower(), handler, operation)


def _add_problems(one: _Described) -> None:
    """Add the problems that follow from what an operation takes, and drop the errors that Litestar makes up."""
    parameters = one.handler.parsed_fn_signature.parameters
    responses = one.operation.responses = {
        status: response
        for status, response in one.operation.responses.items()
        if int(status) < 400 or problems.MEDIA_TYPE in (response.content or {})  # noqa: PLR2004
    }
    codes = ["malformed_request"]
    if "ledger" in parameters:
        codes += ["ledger_not_found"]
    if "data" in parameters:
        codes += ["request_too_large", "unsupported_media_type"]
    if _takes_key(one.handler):
        codes += ["idempotency_key_invalid"] if one.method == "patch" else _KEY_CODES
    for code in codes:
        status = str(CATALOGUE[code].status)
        if status in responses:
            responses[status].description += f", `{code}`"
        else:
            responses[status] = OpenAPIResponse(
                description=f"Problem: `{code}`", content={problems.MEDIA_TYPE: OpenAPIMediaType()}
            )
    one.operation.responses = dict(sorted(responses.items()))


def _takes_key(handler: HTTPRouteHandler) -> bool:
    """Whether the handler reads the header Idempotency-Key."""
    field = handler.parsed_fn_signature.parameters.get("idempotency_key")
    return field is not None and isinstance(field.kwarg_definition, HeaderParameter)


def _replace_schemas(described: list[_Described]) -> dict[str, Any]:
    """Describe every body and parameter by the schema that msgspec gives of its type, and return the components.

    msgspec decodes requests and encodes answers by these very types, so that it knows what Litestar's schemas lose:
    closed objects, limits of texts and maps, whole numbers beyond 2^53.
    """
    places: list[tuple[Any, Any]] = []
    for one in described:
        handler, operation = one.handler, one.operation
        data = handler.parsed_fn_signature.parameters.get("data")
        if data is not None:
            operation.request_body.required = True
            places += [(content, data.annotation) for content in operation.request_body.content.values()]
        for status, response in operation.responses.items():
            kind = _answer_type(handler, int(status))
            places += [(content, kind) for content in (response.content or {}).values()]
        in_query = query_types(handler)
        for parameter in operation.parameters or []:
            if parameter.param_in == "query":
                places.append((parameter, in_query[parameter.name]))
            elif parameter.name == "ledger_name":
                places.append((parameter, LedgerName))
            elif parameter.param_in == "path" and parameter.schema.format == "uuid":
                parameter.schema.pattern = f"^{CANONICAL_UUID.pattern}$"
            elif parameter.param_in == "header":
                # A dry run can do without a key; the document asks for it there too, lest clients that are generated
                # from it leave it out where money moves.
                parameter.required = parameter.name == "If-Match" or one.method == "post"
                places.append((parameter, _HEADERS[parameter.name]))
    schemas, components = msgspec.json.schema_components([kind for _, kind in places], ref_template=_REF)
    _tell_widths([*schemas, components])
    for (place, _), schema in zip(places, schemas, strict=True):
        default = getattr(place.schema, "default", None)
        place.schema = schema if default is None else schema | {"default": default}
    return components


def _tell_widths(node: Any) -> None:
    """Say of every integer in ``node`` how wide it is: without it, generated clients take 32 bits for all of them."""
    if isinstance(node, list):
        for part in node:
            _tell_widths(part)
    elif isinstance(node, dict):
        if node.get("type") == "integer":
            small = node.get("minimum", -_INT64) >= -_INT32_MAX and node.get("maximum", _INT64) <= _INT32_MAX
            node["format"] = "int32" if small else "int64"
        for part in node.values():
            _tell_widths(part)


def _answer_type(handler: HTTPRouteHandler, status: int) -> Any:
    """Return what ``handler`` answers with ``status``."""
    spec = (handler.responses or {}).get(status)
    if spec is not None:
        return spec.data_container
    if status >= 400:  # noqa: PLR2004
        return ProblemDetails
    returned = handler.parsed_fn_signature.return_type.annotation
    return get_args(returned)[0] if handler.parsed_fn_signature.return_type.is_subclass_of(Response) else returned


def _response_headers(one: _Described, status: int) -> dict[str, OpenAPIHeader]:
    headers = {}
    if one.path.startswith("/v1/"):
        headers["RateLimit-Policy"] = "How many requests a second the client may send, where that is limited."
        headers["RateLimit"] = "How many of them are left, where they are limited."
    if one.path.startswith("/v1/") and one.method == "get" and status == 200:  # noqa: PLR2004
        headers[AS_OF_HEADER] = "A replica answered, which holds everything up to this time; absent otherwise."
    if status in {429, 503}:
        headers["Retry-After"] = "Seconds to wait before trying again."
    if status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = "Bearer."
    if _takes_key(one.handler):
        if status in {200, 201} and one.method == "post":
            headers["Location"] = "The path of what was created or changed; absent from a dry run."
        if status in {200, 201, 404, 409, 412, 422}:
            headers["Idempotency-Replayed"] = "`true` when this answer was given before, absent otherwise."
    if "/accounts" in one.path and (
        (one.method in {"get", "patch"} and status == 200 and one.path.endswith("}"))  # noqa: PLR2004
        or (one.method == "post" and status == 201)  # noqa: PLR2004
    ):
        headers["ETag"] = "Names the state that PATCH can change; send it as If-Match."
    if "cursor" in one.handler.parsed_fn_signature.parameters and status == 200:  # noqa: PLR2004
        headers["Link"] = 'The next page, `rel="next"`; absent on the last one.'
    return {
        name: OpenAPIHeader(schema=Schema(type=OpenAPIType.STRING), description=text) for name, text in headers.items()
    }
