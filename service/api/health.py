"""Probes: is the process alive, is it ready for traffic."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import text

from service.api.context import Services
from service.api.problems import ProblemError, responses
from service.storage.migrations import verify_revision
from service.storage.retry import run_with_retries

_CHECK_SECONDS_MAX = 1.2
_CHECK_TRIES = 2
"""The second one for a connection that was found silent by the first."""


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Check(Struct, frozen=True):
    """One part of the service: whether it is ready, and how long the look took."""

    ready: bool
    latency_ms: float


class Ready(Struct, frozen=True):
    """Every part is ready."""

    status: Literal["ready"]
    checks: dict[str, Check]


class HealthController(Controller):
    """Probes come without a token; what they are told names no host, user or version."""

    path = "/health"
    tags = ("Operations",)
    opt = {"scope": None}  # noqa: RUF012 - read by Litestar from the class

    @get("/live", operation_id="getLiveness", responses=responses(common=("internal_error",)))
    async def get_liveness(self) -> Alive:
        """Answer while the process can answer at all."""
        return Alive()

    @get("/ready", operation_id="getReadiness", responses=responses("not_ready", common=("internal_error",)))
    async def get_readiness(self, services: NamedDependency[Services]) -> Response[Ready]:
        """Answer 200 when the database is reachable and migrated and the engine and the sweeper of expired
        holds run; 503 with `checks` otherwise. The checks run together, each for little more than a second.
        """
        probes: dict[str, Callable[[], Awaitable[object]]] = {
            "database": partial(_reach_database, services),
            "migrations": partial(verify_revision, services.database.engine),
            "engine": partial(_ask_engine, services),
            "sweeper": partial(_ask_sweeper, services),
        }
        checks = dict(zip(probes, await asyncio.gather(*map(_check, probes.values())), strict=True))
        if not all(check.ready for check in checks.values()):
            failing = ", ".join(name for name, check in checks.items() if not check.ready)
            raise ProblemError("not_ready", f"Not ready: {failing}.", members={"checks": checks})
        return Response(Ready("ready", checks))


async def _check(probe: Callable[[], Awaitable[object]]) -> Check:
    started = time.perf_counter()
    try:
        await run_with_retries(probe, attempts_max=_CHECK_TRIES, deadline_seconds=_CHECK_SECONDS_MAX)
    except Exception:  # noqa: BLE001 - whatever it is, the part is not ready
        ready = False
    else:
        ready = True
    return Check(ready, round((time.perf_counter() - started) * 1000, 3))


async def _reach_database(services: Services) -> None:
    async with services.database.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def _ask_engine(services: Services) -> None:
    if not services.engine.running:
        raise RuntimeError("the engine is not running")


async def _ask_sweeper(services: Services) -> None:
    if not services.sweeper.running:
        raise RuntimeError("the sweeper is not running")
