"""The composition root: makes the service's parts, starts them in order, stops them in reverse."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from service.api import context, description, documentation, health, problems, security
from service.api.accounts import AccountController
from service.api.application import Application
from service.api.batches import batch_turns, post_batch
from service.api.decisions import list_decisions
from service.api.holds import HoldController
from service.api.keys import IdempotencyKeyController
from service.api.ledgers import LedgerController
from service.api.limits import ClientLimits
from service.api.operations import only_operations
from service.api.overview import get_overview
from service.api.readiness import Readiness
from service.api.transfers import TransferController
from service.engine.engine import TransferEngine
from service.engine.sweeper import HoldSweeper
from service.server.http import HttpServer
from service.server.limits import Limits
from service.settings import Settings
from service.storage.accounts import AccountRepository
from service.storage.coalescing import CoalescedReads, Query, R, Rows
from service.storage.holds import HoldRepository
from service.storage.migrations import verify_revision
from service.storage.places import Places
from service.storage.pools import Pools
from service.storage.replica import Replica
from service.storage.retry import Reader
from service.storage.transfers import TransferRepository
from service.telemetry.logs import configure_logging

ACCESS_SECONDS_MAX = 2.0
"""How long the look-up of a token or of a ledger may take: every request waits for them first."""


def create_app(settings: Settings | None = None) -> Litestar:
    """Return the service's ASGI application; without ``settings`` they are read from the environment.

    Raises SettingsError. At its start the application connects and refuses to serve on a schema that is behind.
    """
    settings = settings or Settings.from_environment()
    if settings.database_url is None:
        raise ValueError("the application needs FUNDS_DATABASE_URL; `funds serve` sets it for the embedded PostgreSQL")
    configure_logging(settings.log_level)

    @asynccontextmanager
    async def run(app: Litestar) -> AsyncIterator[None]:
        services = make_services(settings)
        try:
            await verify_revision(services.database.engine)
            await services.engine.start()
            await services.sweeper.start()
            if services.replica is not None:
                await services.replica.start()
            app.state.services = services
            app.state.authenticator = services.authenticator
            app.state.draining = False
            try:
                yield
            finally:
                if services.replica is not None:
                    await services.replica.stop()
                await services.sweeper.stop()
                await services.engine.stop()
        finally:
            await services.pools.close()

    app = Application(
        route_handlers=[
            LedgerController,
            AccountController,
            TransferController,
            HoldController,
            IdempotencyKeyController,
            post_batch,
            list_decisions,
            get_overview,
            health.HealthController,
            problems.explain_problem,
            documentation.get_openapi,
            documentation.assets_router(),
        ],
        served_prefix=settings.served_prefix,
        state=State(
            {
                "path_prefix": settings.path_prefix,
                "stripped_prefix": settings.path_prefix.removesuffix(settings.served_prefix),
            }
        ),
        lifespan=[run],
        middleware=[security.Authorization()],
        dependencies={
            "services": Provide(context.provide_services),
            "reader": Provide(context.provide_reader),
            "ledger": Provide(context.provide_ledger),
        },
        exception_handlers=problems.EXCEPTION_HANDLERS,
        openapi_config=documentation.openapi_config(settings.path_prefix),
        request_max_body_size=settings.request_bytes_max,
        logging_config=None,
        debug=False,
    )
    description.complete(app)
    return app


async def serve(
    settings: Settings,
    listeners: Sequence[socket.socket],
    operations_listeners: Sequence[socket.socket],
    *,
    ready: Callable[[], None],
) -> None:
    """Serve on bound sockets until SIGTERM; ``ready`` is called once everything is made.

    The end begins with readiness: it says 503 and every answer is the last one of its connection, while new requests
    are still taken for ``drain_delay_seconds``, until whoever sends them has noticed. Then what is under way is
    finished, and everything stopped. The operations listener answers to the end.
    """
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    app = create_app(settings)
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
        refuse = problems.refusals(settings.path_prefix)
        server = HttpServer(app, limits, refuse)
        operations = HttpServer(only_operations(app, refuse), limits, refuse)
        ready()
        await operations.listen(operations_listeners)
        await server.listen(listeners)
        await stopping.wait()
        app.state.draining = server.draining = True
        await asyncio.sleep(settings.drain_delay_seconds)
        await server.stop()
        await operations.stop()


def make_services(settings: Settings) -> context.Services:
    """Make the parts of the service; nothing is started."""
    assert settings.database_url is not None, "checked by create_app"
    pools = Pools.connect(settings.database_url, settings)
    replica = None if pools.replica is None else Replica(pools.replica.watch, pools.access)
    make_reader = partial(
        Reader, attempts_max=settings.read_attempts_max, deadline_seconds=settings.read_deadline_seconds
    )
    access = make_reader(pools.access, deadline_seconds=min(ACCESS_SECONDS_MAX, settings.read_deadline_seconds))
    look_up = make_reader(pools.look_ups, single_statements=True)
    look_up_nearest = look_up
    if pools.replica is not None:
        look_up_nearest = make_reader(
            pools.look_ups, single_statements=True, replica=replica, replica_database=pools.replica.look_ups
        )

    def rows(query: Query[UUID, R]) -> Rows[UUID, R]:
        primary = CoalescedReads(look_up, query)
        return Rows(primary if replica is None else CoalescedReads(look_up_nearest, query), primary)

    engine = TransferEngine(pools.batches, settings, rehearsal_database=pools.rehearsals)
    sweeper = HoldSweeper(engine, pools.administration, settings)
    return context.Services(
        settings=settings,
        database=pools.administration,
        pools=pools,
        replica=replica,
        reader=make_reader(
            pools.reads,
            places=Places(settings.pool_size + settings.pool_max_overflow),
            replica=replica,
            replica_database=None if pools.replica is None else pools.replica.reads,
        ),
        primary_reader=make_reader(pools.look_ups),
        engine=engine,
        sweeper=sweeper,
        readiness=Readiness(pools.access, engine, sweeper, replica),
        ledgers=context.LedgerDirectory(access, settings.path_prefix),
        authenticator=security.Authenticator(
            security.token_look_ups(access), ClientLimits(settings), settings.admin_token
        ),
        overviews=make_reader(
            pools.overviews,
            snapshots=True,
            places=Places(1),
            replica=replica,
            replica_database=None if pools.replica is None else pools.replica.overviews,
        ),
        batch_turns=batch_turns(),
        accounts=rows(lambda session, ledger_id, ids: AccountRepository(session).by_ids(ledger_id, ids)),
        transfers=rows(lambda session, ledger_id, ids: TransferRepository(session).by_ids(ledger_id, ids)),
        holds=rows(lambda session, ledger_id, ids: HoldRepository(session).by_ids(ledger_id, ids)),
    )
