"""The OpenAPI document made true: what Litestar writes down by itself is completed and put right."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args
from uuid import UUID

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Parameter,
    Reference,
    Schema,
)
from litestar.params import HeaderParameter
from litestar.routes import HTTPRoute
from msgspec import Meta, Struct

from service.api.context import AS_OF_HEADER, OF_CLIENTS_HEADER
from service.api.http.idempotency import KEY_HEADER, KEY_HEADER_LENGTH_MAX, KEY_PATTERN
from service.api.http.paths import CANONICAL_UUID
from service.api.http.preconditions import IF_MATCH_PATTERN
from service.api.http.queries import query_types
from service.domain.reasons import Reason
from service.telemetry.records import REQUEST_ID_HEADER, REQUEST_ID_PATTERN
from service.telemetry.trace_context import TRACEPARENT_HEADER
from service.wire.catalogue import CATALOGUE
from service.wire.problems import MEDIA_TYPE, AnyProblem, codes_in, union_of
from service.wire.reasons import (
    IdempotencyKeyInvalid,
    IdempotencyKeyRequired,
    LedgerNotFound,
    MalformedRequest,
    NotFound,
    RequestTooLarge,
    UnsupportedMediaType,
)
from service.wire.scalars import LedgerName

_HEADERS = {
    REQUEST_ID_HEADER: str,
    TRACEPARENT_HEADER: str,
    KEY_HEADER: Annotated[str, Meta(pattern=KEY_PATTERN, max_length=KEY_HEADER_LENGTH_MAX)],
    "If-Match": Annotated[str, Meta(pattern=IF_MATCH_PATTERN)],
    "Last-Event-ID": UUID,
}
_OF_EVERY_REQUEST = {
    REQUEST_ID_HEADER: "What the caller calls this request: 1 to 128 letters, digits, `.`, `_` and `-`. The answer,"
    " the log and the ledger's history have it; it decides nothing. In the place of none, or of another one, comes the"
    " id of the trace, or a made one.",
    TRACEPARENT_HEADER: "The trace that this request belongs to (W3C Trace Context, level 1); ignored if not valid.",
}
_INT32_MAX, _INT64 = 2**31 - 1, 2**63
_REF = "#/components/schemas/{name}"


class _Described(Struct, frozen=True):
    """An operation of the document and the handler that it describes. ``operation`` is Litestar's Operation, whose
    type allows references everywhere; there are none. ``problems`` are the codes of its problems by status.
    """

    path: str
    method: str
    handler: HTTPRouteHandler
    operation: Any
    problems: dict[int, list[str]]


def complete(app: Litestar) -> None:
    """Complete the document of ``app``: schemas, problems, headers, and which operations are open to everyone."""
    described = list(_described(app))
    for one in described:
        one.operation.summary = f"{one.operation.operation_id[:1].upper()}{one.operation.operation_id[1:]}"
        if not one.path.startswith("/v1/"):
            one.operation.security = []
        one.operation.parameters = [*(one.operation.parameters or ()), *_of_every_request()]
        _describe_problems(one)
        if one.handler.opt.get("event_stream"):
            _describe_stream(one)
        for media_type, text in one.handler.opt.get("files", {}).items():
            file = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, description=text))
            one.operation.responses["200"].content[media_type] = file
        for status, response in one.operation.responses.items():
            response.headers = _response_headers(one, int(status))
    app.openapi_schema.components.schemas = _replace_schemas(described)
    any_problem = OpenAPIMediaType(schema=Reference(ref=_REF.format(name="ProblemDetails")))
    app.openapi_schema.components.responses = {
        "Problem": OpenAPIResponse(
            description="Any problem. What reaches no operation is answered so, too: `not_found`, `method_not_allowed`,"
            " `request_timeout`, `uri_too_long`, `request_header_too_large`.",
            content={MEDIA_TYPE: any_problem},
        )
    }


def _described(app: Litestar) -> Iterator[_Described]:
    paths = app.openapi_schema.paths or {}
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path_format not in paths:
            continue
        for handler in route.route_handlers:
            for method in handler.http_methods:
                operation = getattr(paths[route.path_format], method.lower())
                if operation is not None:
                    problems = _problems(handler, route.path_format, method.lower())
                    yield _Described(route.path_format, method.lower(), handler, operation, problems)


def _problems(handler: HTTPRouteHandler, path: str, method: str) -> dict[int, list[str]]:
    """Return the codes of the problems that ``handler`` names, and of those that follow from what it takes."""
    codes = {
        status: codes_in(spec.data_container)
        for status, spec in (handler.responses or {}).items()
        if spec.media_type == MEDIA_TYPE
    }
    parameters = handler.parsed_fn_signature.parameters
    implied: list[type[Reason]] = [MalformedRequest]
    if "{" in path:
        implied += [NotFound]  # where a parameter is not written as it must be, there is no such path
    if "{ledger_name}" in path:
        implied += [LedgerNotFound]
    if "data" in parameters:
        implied += [RequestTooLarge, UnsupportedMediaType]
    if _takes_key(handler):
        implied += [IdempotencyKeyInvalid] if method == "patch" else [IdempotencyKeyRequired, IdempotencyKeyInvalid]
    for reason in implied:
        of_status = codes.setdefault(CATALOGUE[reason.code].status, [])
        if reason.code not in of_status:
            of_status.append(reason.code)
    return codes


def _describe_problems(one: _Described) -> None:
    """Describe the problems of an operation, and drop the errors that Litestar makes up."""
    responses = {status: told for status, told in one.operation.responses.items() if int(status) < 400}  # noqa: PLR2004
    for status, codes in one.problems.items():
        description = "Problem: " + ", ".join(f"`{code}`" for code in codes)
        responses[str(status)] = OpenAPIResponse(description=description, content={MEDIA_TYPE: OpenAPIMediaType()})
    one.operation.responses = dict(sorted(responses.items()))


def _describe_stream(one: _Described) -> None:
    """Describe the other form of the answer: a stream of the same events."""
    text = (
        "Server-Sent Events, for `Accept: text/event-stream`. Of each, `id` is the event's id, `event` its type and"
        " `data` the event itself, as in `items`. The stream ends after some minutes, or when the service stops:"
        " connect again with `Last-Event-ID`."
    )
    stream = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, description=text))
    one.operation.responses["200"].content["text/event-stream"] = stream


def _of_every_request() -> Iterator[Parameter]:
    """Yield the headers that every operation takes: the layer around the application reads them."""
    for name, description in _OF_EVERY_REQUEST.items():
        yield Parameter(name=name, param_in="header", schema=Schema(), description=description, required=False)


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
            kind = _answer_type(one, int(status))
            content = response.content or {}
            other = {"text/event-stream", *handler.opt.get("files", ())}
            places += [(described, kind) for name, described in content.items() if name not in other]
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
                is_key = parameter.name == KEY_HEADER
                parameter.required = parameter.name == "If-Match" or (one.method == "post" and is_key)
                places.append((parameter, _HEADERS[parameter.name]))
    kinds = [*(kind for _, kind in places), AnyProblem]
    (*schemas, any_problem), components = msgspec.json.schema_components(kinds, ref_template=_REF)
    components["ProblemDetails"] = any_problem
    _complete_schemas([*schemas, components])
    for (place, _), schema in zip(places, schemas, strict=True):
        default = getattr(place.schema, "default", None)
        place.schema = schema if default is None else schema | {"default": default}
    return components


def _complete_schemas(node: Any) -> None:
    """Say in ``node`` what msgspec leaves out: how wide every integer is, for without it generated clients take 32 bits
    for all of them; and of what a discriminator tells apart, that exactly one type fits.
    """
    if isinstance(node, list):
        for part in node:
            _complete_schemas(part)
    elif isinstance(node, dict):
        if node.get("type") == "integer":
            small = node.get("minimum", -_INT64) >= -_INT32_MAX and node.get("maximum", _INT64) <= _INT32_MAX
            node["format"] = "int32" if small else "int64"
        if "discriminator" in node:
            node["oneOf"] = node.pop("anyOf")
        for part in node.values():
            _complete_schemas(part)


def _answer_type(one: _Described, status: int) -> Any:
    """Return what an operation answers with ``status``."""
    if status in one.problems:
        return union_of(one.problems[status])
    spec = (one.handler.responses or {}).get(status)
    if spec is not None:
        return spec.data_container
    return_type = one.handler.parsed_fn_signature.return_type
    return get_args(return_type.annotation)[0] if return_type.is_subclass_of(Response) else return_type.annotation


def _response_headers(one: _Described, status: int) -> dict[str, OpenAPIHeader]:  # noqa: C901 - a list
    headers = {
        REQUEST_ID_HEADER: "What this request is called, in the log and in the ledger's history.",
        TRACEPARENT_HEADER: "That of the request, where it was valid.",
    }
    if one.path.startswith("/v1/"):
        headers["RateLimit-Policy"] = "How many requests a second the client may send, where that is limited."
        headers["RateLimit"] = "How many of them are left, where they are limited."
    reads = one.method == "get" or one.handler.opt.get("scope") == "read"
    if one.path.startswith("/v1/") and reads and status == 200:  # noqa: PLR2004
        headers[AS_OF_HEADER] = "A replica answered, which holds everything up to this time; absent otherwise."
    if one.handler.opt.get("withholds") and status == 200:  # noqa: PLR2004
        headers[OF_CLIENTS_HEADER] = "`own` where other clients' are left out, for want of `audit`; absent otherwise."
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
    if one.handler.opt.get("files") and status == 200:  # noqa: PLR2004
        headers["Content-Disposition"] = "The name of a file; absent from JSON."
    string = Schema(type=OpenAPIType.STRING)
    answered = {name: OpenAPIHeader(schema=string, description=text) for name, text in headers.items()}
    answered[REQUEST_ID_HEADER].required = True
    answered[REQUEST_ID_HEADER].schema = Schema(type=OpenAPIType.STRING, pattern=f"^{REQUEST_ID_PATTERN}$")
    return answered
