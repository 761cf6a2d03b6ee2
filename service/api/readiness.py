"""Whether each part of the service is ready: looked at for all who ask at a time together."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from msgspec import Struct

from service.engine.engine import TransferEngine
from service.engine.sweeper import HoldSweeper
from service.storage.database import Database
from service.storage.errors import is_read_only
from service.storage.migrations import verify_revision
from service.storage.replica import Replica
from service.storage.retry import run_with_retries

_CHECK_SECONDS_MAX = 1.2
_CHECK_TRIES = 2
"""The second one for a connection that was found silent by the first."""

DISPENSABLE = frozenset({"replica"})
"""What requests can do without."""


class Check(Struct, frozen=True, omit_defaults=True):
    """One part of the service: whether it is ready, how long the look took, and what is wrong if that can be told."""

    ready: bool
    latency_ms: float
    reason: str | None = None


class NotReadyError(Exception):
    """A part is not ready; the message is a reason that names no host, user or version."""


class Readiness:
    """Looks at every part at once, on connections that no request can take.

    Who asks while a look is under way is answered by the next one, which all who came meanwhile share: probes come
    without a token, and however many come, they take two connections.
    """

    def __init__(self, access: Database, engine: TransferEngine, sweeper: HoldSweeper, replica: Replica | None) -> None:
        self._probes: dict[str, Callable[[], Awaitable[None]]] = {
            "database": access.verify_writable,
            "migrations": partial(_verify_migrations, access),
            "engine": partial(_ask, engine),
            "sweeper": partial(_ask, sweeper),
        }
        if replica is not None:
            self._probes["replica"] = partial(_ask_replica, replica)
        self._running: asyncio.Task[Mapping[str, Check]] | None = None
        self._next: asyncio.Task[Mapping[str, Check]] | None = None

    async def checks(self) -> Mapping[str, Check]:
        """Return what a look that began after this call found of each part."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._running))
        return await asyncio.shield(self._next)

    async def _look_after(self, before: asyncio.Task[Mapping[str, Check]] | None) -> Mapping[str, Check]:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        found = await asyncio.gather(*map(_check, self._probes.values()))
        return dict(zip(self._probes, found, strict=True))


async def _verify_migrations(database: Database) -> None:
    await verify_revision(database.engine)


async def _ask(part: TransferEngine | HoldSweeper) -> None:
    if not part.running:
        raise NotReadyError("has stopped")


async def _ask_replica(replica: Replica) -> None:
    trouble = "is far behind" if replica.trouble is None and replica.behind else replica.trouble
    if trouble is not None:
        raise NotReadyError(trouble)


async def _check(probe: Callable[[], Awaitable[None]]) -> Check:
    started = time.perf_counter()
    reason = None
    try:
        await run_with_retries(probe, attempts_max=_CHECK_TRIES, deadline_seconds=_CHECK_SECONDS_MAX)
        ready = True
    except NotReadyError as error:
        ready, reason = False, str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is not ready
        ready, reason = False, "takes no writes" if is_read_only(error) else None
    return Check(ready, round((time.perf_counter() - started) * 1000, 3), reason)
