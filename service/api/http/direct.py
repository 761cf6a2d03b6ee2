"""The hot routes: the same handlers, called without Litestar's machinery for every request.

What a request costs on its way through Litestar (routing, middlewares, arguments, dependencies, the response) is three
to four times what it costs here (docs/decisions/0054-what-litestar-costs.md). A route whose handler says ``direct`` has
all of it done here, in one pass. It is an optimisation and nothing else: whatever is unusual about a request (a query
string, a body without a length or over the limit, a path in another spelling) goes the long way, to the same handler
and the same answer, and so would every request without this module.
What a handler is given, and that it asks for nothing that is skipped here, is checked at start (``direct_checks``).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.types import HTTPScope, Receive, Send
from msgspec import Struct

from service.api.context import Services, caller_of, find_ledger, reader_for
from service.api.http.authorization import admit
from service.api.http.decoding import StrictJSON
from service.api.http.direct_checks import check_application, check_handler, defaults_of
from service.api.http.headers import added_to_answer
from service.api.http.paths import CANONICAL_UUID, UNESCAPED
from service.api.http.problems import NOT_STORED, answer_exception
from service.server.exchange import WHOLE_ANSWER
from service.telemetry.records import record_of
from service.wire.errors import MalformedError

_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")

# /v1/ledgers/{ledger_name}/transfers/{transfer_id}/reversals: parameters stand at every other place.
_LEDGER, _RESOURCE = 3, 5


Supplier = Callable[[HTTPScope, dict[bytes, bytes], Receive, Services], Any]
"""Makes an argument of a handler from an admitted request: its scope, headers and body, and the service's parts."""


def _idempotency_key(_http: HTTPScope, headers: dict[bytes, bytes], _receive: Receive, _services: Services) -> Any:
    key = headers.get(b"idempotency-key")
    return None if key is None else key.decode("latin-1")


_SUPPLIERS: dict[str, Supplier] = {
    "request": lambda http, _headers, receive, _services: Request(http, receive),
    "services": lambda _http, _headers, _receive, services: services,
    "reader": lambda http, _headers, _receive, services: reader_for(http, services.reader),
    "idempotency_key": _idempotency_key,
}
"""What a handler may be given by name, beside its body, its ledger, its caller and the identifier in the path."""


class Route(Struct, frozen=True):
    """A hot route: its handler, and what that is given; ``template`` is its path.

    ``suppliers`` make the arguments that depend on the request, ``defaults`` are those of the query parameters, for no
    request that comes here has a query; ``identifier`` is the name of the argument that the path holds.
    """

    template: str
    handler: HTTPRouteHandler
    call: Callable[..., Any]
    suppliers: tuple[tuple[str, Supplier], ...]
    defaults: dict[str, Any]
    identifier: str | None
    takes_body: bool
    takes_caller: bool
    body_bytes_max: int | None

    def fits(self, headers: dict[bytes, bytes]) -> bool:
        """Whether the body, if one is taken, has a length that is told and within the route's limit."""
        if not self.takes_body:
            return True
        length = headers.get(b"content-length", b"")
        return length.isdigit() and (self.body_bytes_max is None or int(length) <= self.body_bytes_max)

    def spelled(self, segments: Sequence[str], http: HTTPScope) -> bool:
        """Whether the path is spelled as it is served; its fixed segments are."""
        return (
            not http["raw_path"].translate(None, UNESCAPED)
            and segments[_LEDGER][:1] not in {"", "."}
            and (self.identifier is None or CANONICAL_UUID.fullmatch(segments[_RESOURCE]) is not None)
        )


class DirectRoutes:
    """Calls the handlers that say ``direct``. Raises ImproperlyConfiguredException, at start, for one that takes what
    nothing supplies here, or has what would be skipped.
    """

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._routes = {shape: route for one in app.routes for shape, route in _direct_routes(one)}
        if self._routes:
            check_application(app)

    async def answer(self, http: HTTPScope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> bool:
        """Answer the request and return True; or False, having done nothing, where it must go the long way."""
        segments = http["path"].split("/")
        route = self._routes.get(_shape(http["method"], segments))
        if route is None or http["query_string"] or not route.fits(headers) or not route.spelled(segments, http):
            return False
        services: Services = self._app.state.services
        record_of(http).route = route.template
        try:
            http["user"] = principal = await admit(services.authenticator, http, route.handler, headers, receive)
            assert principal is not None, "every hot route needs a scope"
            arguments = route.defaults.copy()
            for name, supply in route.suppliers:
                arguments[name] = supply(http, headers, receive, services)
            if route.identifier is not None:
                arguments[route.identifier] = UUID(segments[_RESOURCE])
            body = await _read(receive) if route.takes_body else b""
            with principal.usage:
                if route.takes_body:  # before the ledger, as on the long way: of two faults, both name the same
                    arguments["data"] = StrictJSON.decode_for(route.handler, body)
                arguments["ledger"] = ledger = await find_ledger(services, principal, segments[_LEDGER])
                if route.takes_caller:
                    arguments["caller"] = caller_of(http, principal, ledger)
                response = await route.call(**arguments)
        except Exception as error:  # noqa: BLE001 - as Litestar's own exception handling
            response = answer_exception(Request(http, receive, send), error)
        await send_response(response, http, send, status_default=route.handler.status_code, added=added_to_answer(http))
        return True


def _direct_routes(route: Any) -> Iterator[tuple[tuple[str | int, ...], Route]]:
    """Yield the hot routes among the handlers of Litestar's ``route``, by the shape of their requests.

    Raises ImproperlyConfiguredException for a handler that cannot be called directly.
    """
    for handler in getattr(route, "route_handlers", ()):
        if not isinstance(handler, HTTPRouteHandler) or not handler.opt.get("direct"):
            continue
        segments = route.path_format.split("/")
        identifier = segments[_RESOURCE].strip("{}") if len(segments) > _RESOURCE else None
        check_handler(handler, route.path_format, identifier, supplied=_SUPPLIERS.keys())
        [method] = handler.http_methods
        parameters = handler.parsed_fn_signature.parameters
        yield (
            _shape(method, segments),
            Route(
                template=route.path_format,
                handler=handler,
                call=handler.fn,
                suppliers=tuple((name, supply) for name, supply in _SUPPLIERS.items() if name in parameters),
                defaults=defaults_of(handler),
                identifier=identifier,
                takes_body="data" in parameters,
                takes_caller="caller" in parameters,
                body_bytes_max=handler.resolve_request_max_body_size(),
            ),
        )


def _shape(method: str, segments: list[str]) -> tuple[str | int, ...]:
    """Return what requests to one route have in common: the method, the length and the fixed segments of the path."""
    return (method, len(segments), *segments[:_LEDGER], *segments[_LEDGER + 1 :: 2])


async def send_response(
    response: Response[Any],
    http: HTTPScope,
    send: Send,
    *,
    status_default: int = 500,
    added: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer the request ``http`` with ``response``, whose content is encoded as JSON; ``status_default`` is for one
    that leaves it open, and ``added`` are headers beside its own.
    """
    body = _encode(response.content)
    status = response.status_code or status_default
    headers = [
        _JSON if response.media_type is None else (b"content-type", response.media_type.encode()),
        NOT_STORED,
        *[(name.lower().encode(), value.encode()) for name, value in response.headers.items()],
        *added,
    ]
    answer_whole: Any = (http.get("extensions") or {}).get(WHOLE_ANSWER)
    if answer_whole is not None:
        answer_whole(status, headers, body)
        return
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _read(receive: Receive) -> bytes:
    """Return the whole body; the server holds it to the length that was told."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return message["body"]
    chunks = []
    while message["type"] == "http.request":
        chunks.append(message["body"])
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()
    raise MalformedError("", "the request was cut off")
