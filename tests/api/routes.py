"""The routes of an application, for tests that hold for all of them."""

from collections.abc import Iterator

from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from tests.support.application import Application
from tests.support.contract import filled


def routes(application: Application) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Method, path and handler of every route, but for OPTIONS, which Litestar answers by itself."""
    for route in application.app.routes:
        assert isinstance(route, HTTPRoute), "a new kind of route needs a rule of its own here"
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield method, route.path_format, handler


def protected(application: Application) -> Iterator[tuple[str, str, str]]:
    """Method, a path in ledger main, and the scope of every route that needs one."""
    for method, path, handler in routes(application):
        scope = handler.opt["scope"]
        if scope is not None:
            yield method, filled(path), scope
