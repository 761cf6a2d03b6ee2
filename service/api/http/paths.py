"""Paths: one spelling each, the prefix that a proxy serves them under, and the methods that each one has.

A proxy in front decides by the path that it reads. So a path is served in one spelling alone, letter by letter as the
routes declare it: what others might normalize (doubled slashes, dot segments, needless escapes, identifiers in another
case) is not found.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote
from uuid import UUID

from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import HTTPScope, Scope
from litestar.types.internal_types import PathParameterDefinition
from msgspec import Struct

ESCAPED_SLASH = "\x1f"
"""Stands for an escaped slash in a key, because Litestar routes by the decoded path; no path can spell it."""

UNESCAPED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~./"
"""What a path consists of that spells nothing in another way."""

CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_ASKED_LENGTH_MAX = 2048
_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9_~.-]*"
# Clients escape keys in different ways (RFC 3986 leaves them the choice), so a key may be spelled in any.
_KEY = r"(?P<key>(?:[A-Za-z0-9_~.!$&'()*+,;=:@-]|%(?!1[Ff])[0-9A-Fa-f]{2})+)"
_KEY_PARAMETER = "idempotency_key"
_WITHOUT_PREFIX = ("/health/", "/.well-known/")


class ServedPath(Struct, frozen=True):
    """The paths that one pattern describes, and the handlers of their methods (without HEAD and OPTIONS). ``template``
    is the pattern as people read it, without the prefix.
    """

    template: str
    pattern: re.Pattern[str]
    handlers: dict[str, HTTPRouteHandler]

    @property
    def allow(self) -> str:
        """Every method that is answered, as the header Allow lists them."""
        methods = {*self.handlers, "OPTIONS"} | ({"HEAD"} if "GET" in self.handlers else set())
        return ", ".join(sorted(methods))

    @property
    def foremost(self) -> HTTPRouteHandler:
        """The handler of GET, or of another method of the path without GET."""
        return self.handlers.get("GET") or next(iter(self.handlers.values()))


class ServedPaths:
    """Every path of the routes, found by its only spelling. ``prefix`` stands before each of them, as a proxy passes it
    on; probes, which come from beside the proxy, and well-known locations, which lie at the root of a host (RFC 8615),
    are served without it too.
    """

    def __init__(self, routes: Iterable[BaseRoute], prefix: str) -> None:
        self._prefix = prefix
        handlers: dict[str, dict[str, HTTPRouteHandler]] = {}
        templates: dict[str, str] = {}
        # Literal segments go before parameters: /docs/openapi.json is no unknown page.
        for route in sorted(routes, key=lambda route: (route.path.count("{"), route.path)):
            assert isinstance(route, HTTPRoute), "the service has routes of HTTP alone"
            pattern = _pattern(route)
            templates.setdefault(pattern, route.path_format)
            methods = handlers.setdefault(pattern, {})
            for handler in route.route_handlers:
                methods |= dict.fromkeys(handler.http_methods - {"OPTIONS", "HEAD"}, handler)
        self._served = [
            ServedPath(templates[pattern], re.compile(pattern), methods) for pattern, methods in handlers.items()
        ]

    @property
    def templates(self) -> list[str]:
        """The template of every path."""
        return [served.template for served in self._served]

    def within(self, path: str) -> str:
        """Return ``path`` without the prefix; an empty text, which is no path, where it lies elsewhere."""
        if path.startswith(f"{self._prefix}/"):
            return path[len(self._prefix) :]
        return path if path.startswith(_WITHOUT_PREFIX) else ""

    def find(self, http: HTTPScope) -> ServedPath | None:
        """Return what is served under the path of the request, if anything is, and see to it that Litestar routes a
        key in it as one segment.
        """
        spelled = self.within(http["raw_path"].decode("latin-1"))
        for served in self._served:
            match = served.pattern.fullmatch(spelled)
            if match is not None:
                key = match.groupdict().get("key", "")
                http["path"] = unquote(re.sub("%2f", ESCAPED_SLASH, spelled, flags=re.IGNORECASE))
                # Others take these for the way up, escaped or not.
                return served if {".", ".."}.isdisjoint(unquote(key).split("/")) else None
        return None


def _pattern(route: HTTPRoute) -> str:
    """Return the pattern of the only spelling of the route's paths."""
    return "".join(f"/{_segment(component)}" for component in route.path_components)


def _segment(component: str | PathParameterDefinition) -> str:
    if isinstance(component, str):
        return re.escape(component)
    if component.type is UUID:
        return CANONICAL_UUID.pattern
    if component.type is Path:
        return f"{_SEGMENT}(?:/{_SEGMENT})*"
    return _KEY if component.name == _KEY_PARAMETER else _SEGMENT


def asked_path(scope: Scope) -> str:
    """Return the path as the caller spelled it, with the prefix; cut where it is longer than any that is served."""
    asked = scope["raw_path"].decode("latin-1")[:_ASKED_LENGTH_MAX]
    return f"{scope['litestar_app'].state.stripped_prefix}{asked}"


def public_prefix(scope: Scope) -> str:
    """Return the prefix under which callers find the service; empty without a prefix."""
    prefix: str = scope["litestar_app"].state.path_prefix
    return prefix
