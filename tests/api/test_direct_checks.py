"""A direct handler that takes what nothing supplies, or has what would be skipped, stops the application at start."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

import pytest
from litestar import Controller, Request, Response, get, post, route
from litestar.background_tasks import BackgroundTask
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.config.csrf import CSRFConfig
from litestar.datastructures import CacheControlHeader, Cookie
from litestar.di import NamedDependency, Provide
from litestar.dto import MsgspecDTO
from litestar.exceptions import ImproperlyConfiguredException
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from service.api import context
from service.api.application import Application
from service.api.http.authorization import Authorization
from service.api.http.decoding import StrictJSON
from service.api.http.idempotency import IdempotencyKey
from service.api.http.problems import EXCEPTION_HANDLERS
from service.telemetry.requests import RequestTelemetry

Ledger = NamedDependency[context.LedgerRef]
Services = NamedDependency[context.Services]
Answer = Response[dict[str, str]]
PATH = "/v1/ledgers/{ledger_name:str}/things"


class Thing(Struct):
    name: str


class OwnResponse(Response[Any]):
    pass


class OwnRequest(Request[Any, Any, Any]):
    pass


async def hook(*_: Any) -> None:
    """Stand for any hook."""


async def own_ledger() -> context.LedgerRef:
    return context.LedgerRef(1, "main", "")


def middleware(app: ASGIApp) -> ASGIApp:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return handle


async def plain(ledger: Ledger) -> Answer:
    return Response({"name": ledger.name})


async def thing(ledger: Ledger) -> Response[Thing]:
    return Response(Thing(ledger.name))


def started(*, method: Any = get, handler: Any = plain, path: str = PATH, layer: Any = None, **options: Any) -> None:
    """Make an application of one direct handler: ``options`` are its own, those of ``layer`` are the application's."""
    dependencies = {"services": Provide(context.provide_services), "ledger": Provide(context.provide_ledger)}
    application = {"middleware": [Authorization()], "exception_handlers": EXCEPTION_HANDLERS} | (layer or {})
    options = {"opt": {"scope": "read", "direct": True}} | options
    Application(
        route_handlers=[method(path, **options)(handler)],
        served_prefix="",
        telemetry=RequestTelemetry(None),
        dependencies=dependencies,
        openapi_config=None,
        **application,
    )


async def every_argument(
    request: Request[Any, Any, Any],  # noqa: ARG001
    services: Services,  # noqa: ARG001
    ledger: Ledger,
    thing_id: FromPath[UUID],  # noqa: ARG001
    data: JSONBody[Thing],  # noqa: ARG001
    idempotency_key: IdempotencyKey = None,  # noqa: ARG001
    dry_run: FromQuery[bool] = False,  # noqa: ARG001, FBT002
) -> Answer:
    return Response({"name": ledger.name})


def test_what_is_supplied_is_accepted() -> None:
    started()
    started(method=post, handler=every_argument, path=f"{PATH}/{{thing_id:uuid}}/parts", dto=StrictJSON[Thing])


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("guards", {"guards": [hook]}),
        ("a before_request hook", {"before_request": hook}),
        ("an after_request hook", {"after_request": hook}),
        ("an after_request hook", {"layer": {"after_request": hook}}),
        ("an after_response hook", {"after_response": hook}),
        ("background tasks", {"background": BackgroundTask(hook)}),
        ("a cache", {"cache": True}),
        ("response headers", {"response_headers": {"x-name": "value"}}),
        ("response headers", {"cache_control": CacheControlHeader(no_store=True)}),
        ("response cookies", {"response_cookies": [Cookie(key="name", value="value")]}),
        ("a response class", {"response_class": OwnResponse}),
        ("a request class", {"request_class": OwnRequest}),
        ("a return DTO", {"handler": thing, "return_dto": MsgspecDTO[Thing]}),
        ("type encoders or decoders", {"type_encoders": {Thing: str}}),
        ("type encoders or decoders", {"type_decoders": [(lambda _: False, lambda _, value: value)]}),
        ("layered parameters", {"layer": {"parameters": {"name": QueryParameter(name="name", default="")}}}),
        ("other exception handlers", {"exception_handlers": {KeyError: hook}}),
        ("other middlewares", {"middleware": [middleware]}),
        ("other middlewares", {"layer": {"middleware": []}}),
        ("a media type", {"media_type": "application/vnd.own+json"}),
        ("has to name a scope", {"opt": {"scope": None, "direct": True}}),
        ("its ledger is another dependency", {"dependencies": {"ledger": Provide(own_ledger)}}),
        ("has to have one method", {"method": route, "http_method": ["GET", "DELETE"], "status_code": 200}),
        ("its path", {"path": "/v1/ledgers/{ledger_name:str}"}),
        ("its path", {"path": "/v2/ledgers/{ledger_name:str}/things"}),
        *[
            (f"the application has {name}", {"layer": {name: value}})
            for name, value in {
                "before_send": [hook],
                "after_exception": [hook],
                "cors_config": CORSConfig(),
                "csrf_config": CSRFConfig(secret="secret"),
                "compression_config": CompressionConfig(backend="gzip"),
                "allowed_hosts": ["funds"],
            }.items()
        ],
    ],
)
def test_what_would_be_skipped_stops_the_application(said: str, options: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfiguredException, match=said):
        started(**options)


def test_what_the_controller_brings_stops_the_application() -> None:
    class Things(Controller):
        path = PATH
        after_response = hook

        @get(opt={"scope": "read", "direct": True})
        async def things(self, ledger: Ledger) -> Answer:
            return Response({"name": ledger.name})

    with pytest.raises(ImproperlyConfiguredException, match="an after_response hook"):
        Application(
            route_handlers=[Things],
            served_prefix="",
            telemetry=RequestTelemetry(None),
            dependencies={"services": Provide(context.provide_services), "ledger": Provide(context.provide_ledger)},
            middleware=[Authorization()],
            exception_handlers=EXCEPTION_HANDLERS,
            openapi_config=None,
        )


async def query_without_default(ledger: Ledger, name: FromQuery[str]) -> Answer:
    return Response({"name": ledger.name + name})


async def other_header(ledger: Ledger, name: Annotated[str, HeaderParameter(name="X-Name")] = "") -> Answer:
    return Response({"name": ledger.name + name})


async def key_of_another_header(
    ledger: Ledger, idempotency_key: Annotated[str, HeaderParameter(name="X-Key")] = ""
) -> Answer:
    return Response({"name": ledger.name + idempotency_key})


async def own_dependency(ledger: Ledger, thing: NamedDependency[Thing]) -> Answer:
    return Response({"name": ledger.name + thing.name})


async def ledger_name(ledger: Ledger, ledger_name: FromPath[str]) -> Answer:
    return Response({"name": ledger.name + ledger_name})


async def text_in_path(ledger: Ledger, thing_id: FromPath[str]) -> Answer:
    return Response({"name": ledger.name + thing_id})


async def scope_itself(ledger: Ledger, scope: Scope) -> Answer:
    return Response({"name": ledger.name + scope["path"]})


async def lax_body(ledger: Ledger, data: JSONBody[Thing]) -> Answer:
    return Response({"name": ledger.name + data.name})


async def no_ledger(services: Services) -> Answer:
    return Response({"name": str(services)})


async def no_response(ledger: Ledger) -> dict[str, str]:
    return {"name": ledger.name}


def no_coroutine(ledger: Ledger) -> Answer:
    return Response({"name": ledger.name})


@pytest.mark.parametrize(
    ("handler", "said", "options"),
    [
        (query_without_default, "nothing supplies its parameter name", {}),
        (other_header, "nothing supplies its parameter name", {}),
        (key_of_another_header, "nothing supplies its parameter idempotency_key", {}),
        (
            own_dependency,
            "nothing supplies its parameter thing",
            {"dependencies": {"thing": Provide(lambda: Thing(""), sync_to_thread=False)}},
        ),
        (ledger_name, "nothing supplies its parameter ledger_name", {}),
        (text_in_path, "nothing supplies its parameter thing_id", {"path": f"{PATH}/{{thing_id:str}}"}),
        (scope_itself, "nothing supplies its parameter scope", {}),
        (lax_body, "not decoded by StrictJSON", {"method": post}),
        (no_ledger, "has to take the ledger of its path", {}),
        (no_response, "has to return a Response", {}),
        (no_coroutine, "has to be a coroutine", {"sync_to_thread": False}),
    ],
)
def test_a_parameter_that_nothing_supplies_stops_the_application(
    handler: Callable[..., Awaitable[Any]], said: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ImproperlyConfiguredException, match=said):
        started(handler=handler, **options)
