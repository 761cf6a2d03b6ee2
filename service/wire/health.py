"""What probes are told."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct


class Check(Struct, frozen=True, omit_defaults=True):
    """One part of the service: whether it is ready, how long the look took, and what is wrong with it, or else what
    there is to say. The log says more: here, nothing names a host, a user, a ledger or a version.
    """

    ready: bool
    latency_ms: float
    reason: str | None = None
    note: str | None = None


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(Struct, frozen=True):
    """Every part that requests cannot do without is ready. `degraded`: another one is not, and `checks` says which."""

    status: Literal["ready", "degraded"]
    checks: Mapping[str, Check]
