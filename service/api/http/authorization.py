"""What stands before every route: who is calling, whether they may, and what any request must look like."""

from typing import cast

from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from service.access.authenticator import Authenticator
from service.access.principal import Principal
from service.api.http.headers import (
    add_to_answer,
    refuse_body,
    refuse_codings,
    refuse_other_media_types,
    refuse_repeated,
)
from service.api.http.problems import rate_headers
from service.api.http.queries import check_query, required_parameters
from service.errors import ProblemError
from service.telemetry.records import record_of
from service.wire.reasons import Forbidden


class Authorization(ASGIMiddleware):
    """Stands before every route: its ``scope`` option names the scope it needs; None opens it to everyone.

    Sets ``request.user`` to the Principal.
    A middleware and not a guard: Litestar copies the route's handler for every guard it asks, which cost more than
    the check itself (13 of 70 µs a request).
    """

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Let the request pass, or raise what ``admit`` raises."""
        http = cast("HTTPScope", scope)
        handler = http["route_handler"]
        principal = await admit(
            scope["litestar_app"].state.authenticator, http, handler, dict(http["headers"]), receive
        )
        if http["query_string"] or required_parameters(handler):
            check_query(http["query_string"], handler)
        if principal is None:
            await next_app(scope, receive, send)
            return
        scope["user"] = principal
        with principal.usage as usage:
            await next_app(scope, usage.uncounted(receive), send)


async def admit(
    authenticator: Authenticator,
    http: HTTPScope,
    handler: BaseRouteHandler,
    headers: dict[bytes, bytes],
    receive: Receive,
) -> Principal | None:
    """Return who may make the request to ``handler``; None where no token is asked for. OPTIONS tells of a path,
    and is answered to a token of any scope.

    Raises UnauthenticatedError, RateLimitedError, or ProblemError: forbidden, or what is wrong with the headers or with
    there being a body.
    """
    principal = None
    given = cast("list[tuple[bytes, bytes]]", http["headers"])
    options = http["method"] == "OPTIONS"
    required = handler.opt["scope"]
    if required is not None:
        principal = await authenticator.authenticate(_text(headers.get(b"authorization")), given, http["client"])
        record_of(http).client = principal.client
        if principal.usage.rated:
            add_to_answer(http, rate_headers(*principal.usage.spend()))
        if not options and not principal.may(required):
            raise ProblemError(Forbidden(required), f"This operation needs the scope {required}.")
    if len(headers) < len(given):
        refuse_repeated(given)
    if not options and "data" in handler.parsed_fn_signature.parameters:
        refuse_other_media_types(headers.get(b"content-type"))
        refuse_codings(headers.get(b"content-encoding"))
    elif not handler.opt.get("form") and (b"content-length" in headers or b"transfer-encoding" in headers):
        await refuse_body(headers, receive)
    return principal


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
