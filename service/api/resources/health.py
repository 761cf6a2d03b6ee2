"""Probes: is the process alive, is it ready for traffic."""

from litestar import Controller, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency

from service.api.context import Services
from service.api.http.problems import responses
from service.api.readiness import DISPENSABLE
from service.errors import ProblemError
from service.wire.health import Alive, Ready
from service.wire.reasons import InternalError, NotReady


class HealthController(Controller):
    """Probes come without a token; what they are told names no host, user or version."""

    path = "/health"
    tags = ("Operations",)
    opt = {"scope": None}  # noqa: RUF012 - read by Litestar from the class

    @get("/live", operation_id="getLiveness", responses=responses(common=(InternalError,)))
    async def get_liveness(self) -> Alive:
        """Answer while the process can answer at all."""
        return Alive()

    @get("/ready", operation_id="getReadiness", responses=responses(NotReady, common=(InternalError,)))
    async def get_readiness(self, services: NamedDependency[Services], state: State) -> Response[Ready]:
        """Answer 200 when the database is reachable, takes writes and is migrated, and the engine and the sweeper of
        expired holds run; 503 with `checks` otherwise. The checks run together, each for little more than a second.
        Without its replica the service is ready all the same (`degraded`): the database is read instead. So it is where
        damage was found in a ledger.
        """
        if state.draining:
            raise ProblemError(NotReady(), "The service is about to stop: send new requests elsewhere.")
        checks = await services.readiness.checks()
        failing = [name for name, check in checks.items() if not check.ready]
        if set(failing) - DISPENSABLE:
            raise ProblemError(NotReady(checks), f"Not ready: {', '.join(failing)}.")
        return Response(Ready("degraded" if failing else "ready", checks))
