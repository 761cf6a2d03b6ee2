"""Driver errors, translated in one place: by SQLSTATE and constraint name, never by message text."""

from collections.abc import Iterator
from enum import StrEnum

import asyncpg
from sqlalchemy import exc

_CONTENTION = frozenset({"40001", "40P01", "55P03"})  # serialization failure, deadlock, lock timeout
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")  # connection, resources, operator intervention or timeout, system
_UNAVAILABLE = frozenset({"25006"})  # a write reached a server that has become read-only: failover

_UNAVAILABLE_TYPES = (
    exc.TimeoutError,  # no connection of the pool became free
    OSError,  # refused, reset, or timed out (TimeoutError)
    asyncpg.InterfaceError,  # the connection is closed
    asyncpg.InternalClientError,
)


class Failure(StrEnum):
    """What a failed transaction means for the caller; both kinds are transient and may be tried again."""

    CONTENTION = "contention"
    UNAVAILABLE = "database_unavailable"


class StorageError(Exception):
    """A transaction failed for a transient reason and every try allowed for it is used up.

    ``outcome_unknown`` is True when a COMMIT was sent and its answer never came: the work may have been done.
    """

    def __init__(self, failure: Failure, *, outcome_unknown: bool = False) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.outcome_unknown = outcome_unknown


def classify(error: BaseException) -> Failure | None:
    """Return what kind of transient failure ``error`` is; None for one that trying again cannot heal.

    A StorageError is final, whatever failure caused it: the tries are used up, or trying again would be wrong.
    """
    if isinstance(error, StorageError):
        return None
    for cause in _driver_errors(error):
        if isinstance(cause, asyncpg.PostgresError) and cause.sqlstate in _CONTENTION:
            return Failure.CONTENTION
        if _is_unavailable(cause):
            return Failure.UNAVAILABLE
    return None


def _is_unavailable(error: BaseException) -> bool:
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    sqlstate = getattr(error, "sqlstate", None)
    return (
        isinstance(error, _UNAVAILABLE_TYPES)
        or sqlstate in _UNAVAILABLE
        or (sqlstate or "").startswith(_UNAVAILABLE_CLASSES)
    )


def violated_constraint(error: BaseException) -> str | None:
    """Return the name of the constraint that ``error`` says was violated (class 23), None for any other error."""
    for cause in _driver_errors(error):
        if isinstance(cause, asyncpg.IntegrityConstraintViolationError):
            return cause.constraint_name or cause.column_name or "unnamed"
    return None


def _driver_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and the driver's exceptions under it, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "orig", None) or current.__cause__
