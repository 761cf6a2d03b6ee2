"""The application: its routes and what is around each of them, and its life from start to stop."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from service.api import context
from service.api.application import Application
from service.api.http import problems
from service.api.http.authorization import Authorization
from service.api.openapi import documentation
from service.api.openapi.document import Document
from service.app.parts import make_services
from service.app.routes import routes
from service.console.links import SignInLink
from service.console.pages import template_config
from service.console.sessions import Sessions
from service.settings import Settings
from service.storage.migrations import verify_revision
from service.telemetry.http_metrics import http_metrics
from service.telemetry.logs import configure_logging
from service.telemetry.request_lines import RequestLines
from service.telemetry.requests import RequestTelemetry
from service.wire.catalogue import CATALOGUE

if TYPE_CHECKING:
    from service.telemetry.traces import Traces

_STATUSES = (200, 201, 204, 207, 304, *sorted({kind.status for kind in CATALOGUE.values()}))


def create_app(settings: Settings | None = None, *, sign_in_link: SignInLink | None = None) -> Application:
    """Return the service's ASGI application; without ``settings`` they are read from the environment. ``sign_in_link``
    signs the operator in to the console once.

    Raises SettingsError. At its start the application connects and refuses to serve on a schema that is behind.
    """
    settings = settings or Settings.from_environment()
    if settings.database_url is None:
        raise ValueError("the application needs FUNDS_DATABASE_URL; `funds serve` sets it for the embedded PostgreSQL")
    configure_logging(settings.log_level)

    @asynccontextmanager
    async def run(app: Litestar) -> AsyncIterator[None]:
        services = make_services(settings, telemetry)
        async with AsyncExitStack() as stack:
            if traces is not None:
                stack.push_async_callback(traces.close)
            await _start(services, stack)
            app.state.services = services
            app.state.authenticator = services.authenticator
            app.state.draining = False
            yield

    traces = _traces(settings)
    telemetry = RequestTelemetry(RequestLines() if settings.log_requests else None, traces)
    app = Application(
        route_handlers=routes(console=settings.console),
        served_prefix=settings.served_prefix,
        telemetry=telemetry,
        state=State(
            {
                "path_prefix": settings.path_prefix,
                "stripped_prefix": settings.path_prefix.removesuffix(settings.served_prefix),
                "console_sessions": Sessions(
                    settings.console_key,
                    seconds_max=settings.console_session_seconds_max,
                    idle_seconds_max=settings.console_idle_seconds_max,
                ),
                "sign_in_link": sign_in_link,
            }
        ),
        lifespan=[run],
        middleware=[Authorization()],
        dependencies={
            "services": Provide(context.provide_services),
            "ledger": Provide(context.provide_ledger),
            "caller": Provide(context.provide_caller),
            "reader": Provide(context.provide_reader),
        },
        exception_handlers=problems.EXCEPTION_HANDLERS,
        template_config=template_config() if settings.console else None,
        openapi_config=documentation.openapi_config(settings.path_prefix),
        request_max_body_size=settings.request_bytes_max,
        logging_config=None,
        debug=False,
    )
    app.state.document = Document(app)
    if settings.metrics:
        telemetry.metrics = http_metrics(tuple(app.templates), _STATUSES, tuple(CATALOGUE))
    return app


def _traces(settings: Settings) -> "Traces | None":
    if settings.traces_endpoint is None:
        return None
    from service.telemetry.traces import Traces  # noqa: PLC0415 - an extra, and as slow to load as all else

    return Traces(settings.traces_endpoint, settings.trace_share)


async def _start(services: context.Services, stack: AsyncExitStack) -> None:
    """Start the parts in order; ``stack`` stops what was started in reverse, also when a start fails half-way."""
    stack.push_async_callback(services.pools.close)
    await verify_revision(services.pools.administration.engine)
    await services.committer.start()
    stack.push_async_callback(services.committer.stop)
    if services.replica is not None:
        await services.replica.look()  # the first reads may use it already
    for worker in services.workers:
        worker.start()
        stack.push_async_callback(worker.stop)
    stack.callback(services.watcher.stop)
    stack.push_async_callback(services.readiness.stop)
