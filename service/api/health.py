"""Probes: is the process alive, is it ready for traffic."""

from collections.abc import Mapping
from typing import Literal

from litestar import Controller, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import Struct

from service.api.context import Services
from service.api.problems import ProblemError, responses
from service.api.readiness import DISPENSABLE, Check


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(Struct, frozen=True):
    """Every part that requests cannot do without is ready. `degraded`: another one is not, and `checks` says which."""

    status: Literal["ready", "degraded"]
    checks: Mapping[str, Check]


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
    async def get_readiness(self, services: NamedDependency[Services], state: State) -> Response[Ready]:
        """Answer 200 when the database is reachable, takes writes and is migrated, and the engine and the sweeper of
        expired holds run; 503 with `checks` otherwise. The checks run together, each for little more than a second.
        Without its replica the service is ready all the same (`degraded`): the database is read instead.
        """
        if state.draining:
            raise ProblemError("not_ready", "The service is about to stop: send new requests elsewhere.")
        checks = await services.readiness.checks()
        failing = [name for name, check in checks.items() if not check.ready]
        if set(failing) - DISPENSABLE:
            raise ProblemError("not_ready", f"Not ready: {', '.join(failing)}.", members={"checks": checks})
        return Response(Ready("degraded" if failing else "ready", checks))
