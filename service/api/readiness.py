"""Whether each part of the service is ready: looked at for all who ask at a time together."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

from service import tasks
from service.errors import Failure, NotReadyError, SchemaBehindError, StorageError
from service.settings import RetryLimits
from service.storage.database import Database
from service.storage.errors import is_privilege_missing, is_read_only, reason
from service.storage.migrations import verify_revision
from service.storage.replica import Replica
from service.storage.retries import run_with_retries
from service.wire.health import Check
from service.workers.sealer import Sealer
from service.workers.verifier import IntegrityWatch

if TYPE_CHECKING:
    from service.access.key_sets import KeySet

logger = logging.getLogger(__name__)

_LIMITS = RetryLimits(attempts_max=2, deadline_seconds=1.2)
"""The second one for a connection that was found silent by the first."""

DISPENSABLE = frozenset({"replica", "verifier", "log", "issuer"})
"""What requests can do without."""

_LOG_BEHIND_SECONDS_MAX = 60.0
"""How long not everything may have been sealed."""

Look = Callable[[], Awaitable[str | None]]
"""Looks at one part of the service; returns what there is to say of it. Raises what keeps it from being ready."""


class _Running(Protocol):
    @property
    def running(self) -> bool: ...


class Readiness:
    """Looks at every part at once, on connections that no request can take. Each look has time of its own.

    Who asks while a look is under way is answered by the next one, which all who came meanwhile share: probes come
    without a token, and however many come, they take two connections.
    """

    def __init__(self, looks: Mapping[str, Look]) -> None:
        self._looks = looks
        self._running: asyncio.Task[Mapping[str, Check]] | None = None
        self._next: asyncio.Task[Mapping[str, Check]] | None = None

    async def checks(self) -> Mapping[str, Check]:
        """Return what a look that began after this call found of each part."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._running))
        return await asyncio.shield(self._next)

    async def stop(self) -> None:
        """Give up the looks that are under way."""
        looking = [task for task in (self._running, self._next) if task is not None]
        await tasks.end(looking, seconds_max=0)

    async def _look_after(self, before: asyncio.Task[Mapping[str, Check]] | None) -> Mapping[str, Check]:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        async with asyncio.TaskGroup() as group:
            checks = {part: group.create_task(_check(part, look)) for part, look in self._looks.items()}
        return {part: check.result() for part, check in checks.items()}


def looks_at(
    access: Database,
    committer: _Running,
    sweeper: _Running,
    replica: Replica | None,
    verifier: _Running,
    watch: IntegrityWatch,
    log: tuple[_Running, Sealer] | None,
    issuer: "tuple[_Running, KeySet] | None",
) -> dict[str, Look]:
    """Return the looks at the parts that a service has; of ``log`` and ``issuer`` at the worker and at what it does."""
    looks: dict[str, Look] = {
        "database": access.verify_writable,
        "migrations": partial(_verify_migrations, access),
        "engine": partial(_verify_running, committer),
        "sweeper": partial(_verify_running, sweeper),
        "verifier": partial(_verify_integrity, verifier, watch),
    }
    if log is not None:
        looks["log"] = partial(_verify_log, *log)
    if issuer is not None:
        looks["issuer"] = partial(_verify_issuer, *issuer)
    return looks if replica is None else looks | {"replica": partial(_verify_replica, replica)}


async def _verify_migrations(database: Database) -> None:
    await verify_revision(database.engine)


async def _verify_running(part: _Running) -> None:
    if not part.running:
        raise NotReadyError("has stopped")


async def _verify_integrity(verifier: _Running, watch: IntegrityWatch) -> str:
    await _verify_running(verifier)
    known = watch.freshness
    if known is not None and known.damaged:
        count = len(known.damaged)
        raise NotReadyError(f"found damage in {count} ledger{'s' if count > 1 else ''}")
    if known is None or known.oldest_at is None or known.unverified:
        return "not every ledger was verified yet"
    age = (known.as_of - known.oldest_at).total_seconds()
    return f"every ledger was found sound, the first of them {age:.0f} s ago"


async def _verify_log(worker: _Running, sealer: Sealer) -> str:
    await _verify_running(worker)
    if sealer.damaged_count:
        count = sealer.damaged_count
        raise NotReadyError(f"seals {count} damaged ledger{'s' if count > 1 else ''} no further")
    if sealer.behind_seconds > _LOG_BEHIND_SECONDS_MAX:
        raise NotReadyError(f"is {sealer.behind_seconds:.0f} s behind")
    if sealer.lag_seconds is None:
        return "not everything was sealed yet"
    return f"everything was sealed {sealer.lag_seconds:.0f} s ago"


async def _verify_issuer(worker: _Running, keys: "KeySet") -> str:
    await _verify_running(worker)
    if not keys.count:
        raise NotReadyError("has no keys that can be used")
    return f"its keys were read {keys.age_seconds:.0f} s ago"


async def _verify_replica(replica: Replica) -> None:
    trouble = "is far behind" if replica.trouble is None and replica.behind else replica.trouble
    if trouble is not None:
        raise NotReadyError(trouble)


async def _check(part: str, look: Look) -> Check:
    started = time.perf_counter()
    why = note = None
    try:
        note = await run_with_retries(look, _LIMITS)
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is not ready
        why = _said(error)
        _log(part, error)
    return Check(why is None, round((time.perf_counter() - started) * 1000, 3), why, note)


def _said(error: Exception) -> str:
    """Return what a caller without a token is told of ``error``."""
    if isinstance(error, NotReadyError):
        return str(error)
    if isinstance(error, SchemaBehindError):
        return "is behind"
    if is_read_only(error):
        return "takes no writes"
    if is_privilege_missing(error):
        return "refuses the role of the service"
    if isinstance(error, StorageError):
        return "does not answer" if error.failure is Failure.UNAVAILABLE else "is blocked"
    return "fails"


def _log(part: str, error: Exception) -> None:
    """Say what the answer keeps to itself, a line a minute for each part and cause; with its traceback what nobody
    foresaw.
    """
    foreseen = isinstance(error, NotReadyError | SchemaBehindError | StorageError)
    what = str(error) if isinstance(error, NotReadyError | SchemaBehindError) else reason(error)
    logger.warning(
        "a part of the service is not ready",
        exc_info=None if foreseen else error,
        extra={"part": part, "reason": f"{part}: {what}"},
    )
