"""Who is calling and what they may do: bearer tokens, scopes, ledgers."""

import hashlib
import hmac
import time
from collections.abc import Callable
from operator import attrgetter
from typing import cast

from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec import Struct

from service.api.headers import add_to_answer, refuse_body, refuse_codings, refuse_other_media_types, refuse_repeated
from service.api.limits import ClientLimits, ClientUsage
from service.api.problems import ProblemError
from service.api.queries import check_query
from service.storage.coalescing import CoalescedReads
from service.storage.retry import Reader
from service.storage.tokens import SCOPES, TOKEN_CACHE_SECONDS, ActiveToken, find_active

ADMIN = "admin"
ADMIN_CLIENT = "admin"
_CACHE_ENTRIES_MAX = 10_000
_EVERYWHERE = 0  # tokens are of no ledger
_TOKEN_LENGTH_MAX = 512


class Principal(Struct, frozen=True):
    """The caller: ``client`` owns its idempotency keys; ``ledgers`` are names, None for every ledger. ``usage`` is what
    all callers of the client ask for now.
    """

    client: str
    scopes: frozenset[str]
    ledgers: frozenset[str] | None
    usage: ClientUsage

    def may(self, scope: str) -> bool:
        """Whether the token has ``scope``; admin has them all."""
        return scope in self.scopes or ADMIN in self.scopes

    def sees(self, ledger: str) -> bool:
        """Whether the token is for the ledger of this name."""
        return self.ledgers is None or ledger in self.ledgers


class Authenticator:
    """Knows callers by the SHA-256 of their token. A token once verified is trusted for TOKEN_CACHE_SECONDS, counted
    from before the look-up, so that a revoked one is refused everywhere after that time.

    Look-ups share a query, and one that found nothing is remembered as long: however many wrong tokens are tried, they
    take one connection and a right one waits for two queries at most.
    """

    def __init__(
        self,
        tokens: CoalescedReads[bytes, ActiveToken],
        limits: ClientLimits,
        admin_token: str | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._limits = limits
        self._admin_hash = None if admin_token is None else hashlib.sha256(admin_token.encode()).digest()
        self._admin = Principal(ADMIN_CLIENT, frozenset(SCOPES), None, limits.of(ADMIN_CLIENT))
        self._clock = clock
        self._verified: dict[bytes, tuple[float, Principal]] = {}
        self._unknown: dict[bytes, float] = {}

    async def authenticate(self, authorization: str | None) -> Principal:
        """Return who sent this Authorization header. Raises ProblemError (unauthenticated)."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= _TOKEN_LENGTH_MAX:
            raise ProblemError("unauthenticated")
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        known = self._verified.get(digest)
        if known is not None and now - known[0] < TOKEN_CACHE_SECONDS:
            return known[1]
        if now - self._unknown.get(digest, -TOKEN_CACHE_SECONDS) < TOKEN_CACHE_SECONDS:
            raise ProblemError("unauthenticated")
        principal = await self._look_up(digest)
        if principal is None:
            self._verified.pop(digest, None)
            if len(self._unknown) >= _CACHE_ENTRIES_MAX:
                self._unknown.clear()
            self._unknown[digest] = now
            raise ProblemError("unauthenticated")
        if len(self._verified) >= _CACHE_ENTRIES_MAX:
            self._verified.clear()
        self._verified[digest] = (now, principal)
        return principal

    async def _look_up(self, digest: bytes) -> Principal | None:
        if self._admin_hash is not None and hmac.compare_digest(digest, self._admin_hash):
            return self._admin
        token, _ = await self._tokens.get(_EVERYWHERE, digest)
        if token is None:
            return None
        ledgers = None if token.ledgers is None else frozenset(token.ledgers)
        return Principal(token.client, frozenset(token.scopes), ledgers, self._limits.of(token.client))


def token_look_ups(reader: Reader) -> CoalescedReads[bytes, ActiveToken]:
    """Return the look-ups of tokens by their hash, which ``reader`` reads."""
    return CoalescedReads(reader, lambda session, _, hashes: find_active(session, hashes), key=attrgetter("token_hash"))


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
        if http["query_string"]:
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
    """Return who may make the request to ``handler``; None where nobody is asked who they are. OPTIONS tells of a path,
    and is answered to a token of any scope.

    Raises ProblemError: unauthenticated, rate_limited, forbidden, or what is wrong with the headers or with there being
    a body.
    """
    principal = None
    given = cast("list[tuple[bytes, bytes]]", http["headers"])
    options = http["method"] == "OPTIONS"
    required = handler.opt["scope"]
    if required is not None:
        principal = await authenticator.authenticate(_text(headers.get(b"authorization")))
        if principal.usage.rated:
            add_to_answer(http, principal.usage.spend())
        if not options and not principal.may(required):
            raise ProblemError(
                "forbidden", f"This operation needs the scope {required}.", members={"required_scope": required}
            )
    if len(headers) < len(given):
        refuse_repeated(given)
    if not options and "data" in handler.parsed_fn_signature.parameters:
        refuse_other_media_types(headers.get(b"content-type"))
        refuse_codings(headers.get(b"content-encoding"))
    elif b"content-length" in headers or b"transfer-encoding" in headers:
        await refuse_body(headers, receive)
    return principal


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
