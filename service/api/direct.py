"""The hot routes: the same handlers, called without Litestar's machinery for every request.

To route a request, to pass it through middleware, to bind arguments, to resolve dependencies and to build a response
costs Litestar more than deciding and storing a transfer costs us (measured; service/README.md has the figures). A
route whose handler says ``direct`` has all of it done here, in one pass. It is an optimisation and nothing else:
whatever is unusual about a request (a query string, a body without a length or over the limit, a path in another
spelling) goes the long way, to the same handler and the same answer, and so would every request without this module.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.types import HTTPScope, Receive, Send
from msgspec import Struct

from service.api.context import Services, find_ledger
from service.api.headers import added_to_answer
from service.api.paths import CANONICAL_UUID, UNESCAPED
from service.api.problems import NOT_STORED, answer_exception, malformed
from service.api.security import admit
from service.api.wire import StrictJSON
from service.server.exchange import WHOLE_ANSWER

_encode = msgspec.json.Encoder().encode

# /v1/ledgers/{ledger_name}/transfers/{transfer_id}/reversals: parameters stand at every other place.
_LEDGER, _RESOURCE = 3, 5
_SEGMENTS_MIN, _SEGMENTS_MAX = 5, 7


class Route(Struct, frozen=True):
    """A hot route: its handler, what that wants to be given, and the name of the identifier in the path."""

    handler: HTTPRouteHandler
    call: Callable[..., Any]
    wanted: frozenset[str]
    identifier: str | None
    body_bytes_max: int | None

    def fits(self, headers: dict[bytes, bytes]) -> bool:
        """Whether the body, if one is wanted, has a length that is told and within the route's limit."""
        if "data" not in self.wanted:
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

    def arguments(
        self,
        segments: Sequence[str],
        headers: dict[bytes, bytes],
        http: HTTPScope,
        receive: Receive,
        services: Services,
    ) -> Iterator[tuple[str, Any]]:
        """Yield what the handler is given beside its body and its ledger."""
        if self.identifier is not None:
            yield self.identifier, UUID(segments[_RESOURCE])
        if "services" in self.wanted:
            yield "services", services
        if "reader" in self.wanted:
            yield "reader", services.reader
        if "request" in self.wanted:
            yield "request", Request(http, receive)
        if "idempotency_key" in self.wanted:
            key = headers.get(b"idempotency-key")
            yield "idempotency_key", None if key is None else key.decode("latin-1")


class DirectRoutes:
    """Calls the handlers that say ``direct`` with ``request``, ``services``, ``reader``, ``ledger``, ``data``,
    ``idempotency_key`` and the identifier in the path, as far as they ask for them.
    """

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._routes = {shape: route for one in app.routes for shape, route in _direct_routes(one)}

    async def answer(self, http: HTTPScope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> bool:
        """Answer the request and return True; or False, having done nothing, where it must go the long way."""
        segments = http["path"].split("/")
        route = self._routes.get(_shape(http["method"], segments))
        if route is None or http["query_string"] or not route.fits(headers) or not route.spelled(segments, http):
            return False
        services: Services = self._app.state.services
        arguments = dict(route.arguments(segments, headers, http, receive, services))
        try:
            http["user"] = principal = await admit(services.authenticator, http, route.handler, headers, receive)
            assert principal is not None, "every hot route needs a scope"
            body = await _read(receive) if "data" in route.wanted else b""
            with principal.usage:
                if "data" in route.wanted:  # before the ledger, as on the long way: of two faults, both name the same
                    arguments["data"] = StrictJSON.decode_for(route.handler, body)
                arguments["ledger"] = await find_ledger(services, principal, segments[_LEDGER])
                response = await route.call(**arguments)
        except Exception as error:  # noqa: BLE001 - as Litestar's own exception handling
            response = answer_exception(Request(http, receive, send), error)
        await send_response(response, http, send, status_default=route.handler.status_code, added=added_to_answer(http))
        return True


def _direct_routes(route: Any) -> Iterator[tuple[tuple[str | int, ...], Route]]:
    """Yield the hot routes among the handlers of Litestar's ``route``, by the shape of their requests."""
    for handler in getattr(route, "route_handlers", ()):
        if isinstance(handler, HTTPRouteHandler) and handler.opt.get("direct"):
            segments = route.path_format.split("/")
            assert _SEGMENTS_MIN <= len(segments) <= _SEGMENTS_MAX, "the path of a hot route"
            [method] = handler.http_methods - {"OPTIONS"}
            yield (
                _shape(method, segments),
                Route(
                    handler=handler,
                    call=handler.fn,
                    wanted=frozenset(handler.parsed_fn_signature.parameters),
                    identifier=segments[_RESOURCE].strip("{}") if len(segments) > _RESOURCE else None,
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
        (b"content-type", (response.media_type or "application/json").encode()),
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
    raise malformed("", "the request was cut off")
