"""Checks at start that a handler may be called directly: what Litestar would do for it and ``direct`` does not, it may
not ask for; and every parameter that it takes is supplied, and none is left to a default by accident.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any
from uuid import UUID

from litestar import Litestar, Request, Response
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.types import Empty
from litestar.typing import FieldDefinition

from service.api.context import provide_caller, provide_ledger, provide_reader, provide_services
from service.api.http.authorization import Authorization
from service.api.http.decoding import StrictJSON
from service.api.http.idempotency import KEY_HEADER
from service.api.http.problems import EXCEPTION_HANDLERS

_PATH = re.compile(r"/v1/ledgers/\{ledger_name\}/[a-z-]+(?:/\{[a-z_]+\}(?:/[a-z-]+)?)?")
"""The paths that are found by the places of their parameters."""

_PROVIDERS = {
    "services": provide_services,
    "ledger": provide_ledger,
    "reader": provide_reader,
    "caller": provide_caller,
}
"""The dependencies that are supplied here in their providers' place."""

_READ_LAST = frozenset({"data", "ledger", "caller"})


def _layers_with(name: str) -> Callable[[HTTPRouteHandler], bool]:
    """Return what finds out whether a handler, or a layer around it, has ``name``."""
    return lambda handler: any(getattr(layer, name, None) for layer in handler.ownership_layers)


def _is_enveloped(handler: HTTPRouteHandler) -> bool:
    """Whether there are other middlewares than the one whose work ``admit`` does."""
    return [type(one) for one in handler.resolve_middleware()] != [Authorization]


def _has_own_codecs(handler: HTTPRouteHandler) -> bool:
    """Whether a layer below the application has encoders or decoders (Litestar's plugins give the application some)."""
    _application, *layers = handler.ownership_layers
    return any(layer.type_encoders or layer.type_decoders for layer in layers)


_SKIPPED: dict[str, Callable[[HTTPRouteHandler], Any]] = {
    "guards": HTTPRouteHandler.resolve_guards,
    "a before_request hook": HTTPRouteHandler.resolve_before_request,
    "an after_request hook": _layers_with("after_request"),
    "an after_response hook": HTTPRouteHandler.resolve_after_response,
    "background tasks": lambda handler: handler.background,
    "a cache": lambda handler: handler.cache,
    "response headers": HTTPRouteHandler.resolve_response_headers,
    "response cookies": HTTPRouteHandler.resolve_response_cookies,
    "a response class": lambda handler: handler.resolve_response_class() is not Response,
    "a request class": lambda handler: handler.resolve_request_class() is not Request,
    "a return DTO": HTTPRouteHandler.resolve_return_dto,
    "type encoders or decoders": _has_own_codecs,
    "layered parameters": _layers_with("parameters"),
    "other exception handlers": lambda handler: handler.resolve_exception_handlers() != EXCEPTION_HANDLERS,
    "other middlewares than Authorization": _is_enveloped,
    "a media type": lambda handler: handler.media_type,
}
"""What a handler called directly may not have, and how to find out."""

_NEEDED: dict[str, Callable[[HTTPRouteHandler], Any]] = {
    "to be a coroutine": lambda handler: not handler.has_sync_callable,
    "to return a Response": lambda handler: handler.parsed_fn_signature.return_type.is_subclass_of(Response),
    "to have one method": lambda handler: len(handler.http_methods) == 1,
    "to name a scope": lambda handler: handler.opt.get("scope"),
    "to take the ledger of its path": lambda handler: "ledger" in handler.parsed_fn_signature.parameters,
}
"""What a handler called directly must be, and how to find out."""

_SKIPPED_OF_APPLICATION = (
    "before_send",
    "after_exception",
    "cors_config",
    "csrf_config",
    "compression_config",
    "allowed_hosts",
)


def check_application(app: Litestar) -> None:
    """Check that ``app`` has nothing that a direct call skips. Raises ImproperlyConfiguredException."""
    for name in _SKIPPED_OF_APPLICATION:
        if getattr(app, name):
            raise ImproperlyConfiguredException(f"the application has {name}, which direct handlers would skip")


def check_handler(handler: HTTPRouteHandler, path: str, identifier: str | None, *, supplied: Collection[str]) -> None:
    """Check that ``handler`` at ``path`` can be called directly with the arguments that are ``supplied`` by name, its
    body, its ledger and the ``identifier`` in the path. Raises ImproperlyConfiguredException.
    """
    for fault in _faults(handler, path, identifier, supplied):
        raise ImproperlyConfiguredException(f"{handler} says direct, but {fault}")


def defaults_of(handler: HTTPRouteHandler) -> dict[str, Any]:
    """Return what the query parameters of ``handler`` are in a request without a query."""
    parameters = handler.parsed_fn_signature.parameters.items()
    return {name: field.default for name, field in parameters if isinstance(field.kwarg_definition, QueryParameter)}


def _faults(handler: HTTPRouteHandler, path: str, identifier: str | None, supplied: Collection[str]) -> Iterator[str]:
    """Yield what keeps ``handler`` from being called directly."""
    if not _PATH.fullmatch(path):
        yield f"its path {path} is not found by its places"
    for name, fulfilled in _NEEDED.items():
        if not fulfilled(handler):
            yield f"has {name}"
    for name, found in _SKIPPED.items():
        if found(handler):
            yield f"has {name}, which would be skipped"
    parameters = handler.parsed_fn_signature.parameters
    if "data" in parameters and not issubclass(handler.resolve_data_dto() or object, StrictJSON):
        yield "its body is not decoded by StrictJSON"
    providers = handler.resolve_dependencies()
    for name, field in parameters.items():
        if not _is_supplied(name, field, identifier, supplied):
            yield f"nothing supplies its parameter {name}"
        if name in _PROVIDERS and (name not in providers or providers[name].dependency is not _PROVIDERS[name]):
            yield f"its {name} is another dependency than the application's"


def _is_supplied(name: str, field: FieldDefinition, identifier: str | None, supplied: Collection[str]) -> bool:
    """Whether a direct call has an argument for the parameter ``name``: a default is one for what a query may hold."""
    match field.kwarg_definition:
        case QueryParameter():
            return field.default is not Empty
        case HeaderParameter(name=header):
            return (name, header) == ("idempotency_key", KEY_HEADER)
        case PathParameter():
            return name == identifier and field.annotation is UUID
    return name in supplied or name in _READ_LAST
