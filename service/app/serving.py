"""Serving: the application on bound sockets, from its start until SIGTERM."""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence

from service.api.http import problems
from service.api.operations import only_operations
from service.app.application import create_app
from service.console.links import SignInLink
from service.server.http import HttpServer
from service.server.limits import Limits
from service.settings import Settings


async def serve(
    settings: Settings,
    listeners: Sequence[socket.socket],
    operations_listeners: Sequence[socket.socket],
    *,
    ready: Callable[[], None],
    sign_in_link: SignInLink | None = None,
) -> None:
    """Serve on bound sockets until SIGTERM; ``ready`` is called once everything is made. ``sign_in_link`` signs the
    operator in to the console once.

    The end begins with readiness: it says 503 and every answer is the last one of its connection, while new requests
    are still taken for ``drain_delay_seconds``, until whoever sends them has noticed. Then what is under way is
    finished, and everything stopped. The operations listener answers to the end.
    """
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    app = create_app(settings, sign_in_link=sign_in_link)
    limits = Limits(
        connections_max=settings.connections_max,
        idle_seconds_max=settings.idle_timeout_seconds,
        head_seconds_max=settings.head_timeout_seconds,
        body_seconds_max=settings.body_timeout_seconds,
        write_seconds_max=settings.write_timeout_seconds,
        rate_bytes_per_second_min=settings.rate_bytes_per_second_min,
        drain_seconds_max=settings.drain_timeout_seconds,
    )
    async with app.lifespan():
        refuse = app.telemetry.refusals(problems.refusals(settings.path_prefix))
        server = HttpServer(app, limits, refuse)
        operations = HttpServer(only_operations(app, refuse, metrics=settings.metrics), limits, refuse)
        ready()
        await operations.listen(operations_listeners)
        await server.listen(listeners)
        await stopping.wait()
        app.state.draining = server.draining = True
        await asyncio.sleep(settings.drain_delay_seconds)
        app.state.services.watcher.stop()  # those who wait have what there is: they need not be waited for
        await server.stop()
        await operations.stop()
