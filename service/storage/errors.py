"""Driver errors, translated in one place: by SQLSTATE and constraint name, never by message text."""

import asyncio
import traceback
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import asyncpg
from sqlalchemy import exc

_CONTENTION = frozenset({"40001", "40P01", "55P03"})  # serialization failure, deadlock, lock timeout
# Connection; authorization (a role that is lost or locked, a password that changed); resources; operator intervention
# or timeout; system.
_UNAVAILABLE_CLASSES = ("08", "28", "53", "57", "58")
_READ_ONLY = "25006"
_UNAVAILABLE = frozenset(
    {
        _READ_ONLY,  # a write reached a server that has become read-only: failover
        "3D000",  # the database is gone, or not there yet
        "42501",  # a privilege of the service's role was revoked: whoever did it gives it back
    }
)

_DATA_CLASS = "22"
# Where PostgreSQL and poolers speak of connections, objects and states. What else is said, by functions of the
# operator's (P0001, or an SQLSTATE of their own) for one, may repeat what a caller sent.
_TOLD_CLASSES = ("08", "0A", "23", "25", "26", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "XX")

_DRIVER_TYPES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class NotConnectedError(Exception):
    """The server refused a new connection; the cause says why. Nothing was sent, and whoever made it refuse can undo
    that: it is right to try again, whatever the SQLSTATE (of a database that takes no connections: of a wrong state).
    """


_UNAVAILABLE_TYPES = (
    NotConnectedError,
    exc.TimeoutError,  # no connection of the pool became free
    OSError,  # refused, reset, or timed out (TimeoutError)
    asyncpg.InterfaceError,  # the connection is closed
    asyncpg.InternalClientError,
    # A column's type changed under a prepared statement. The driver prepares it anew, but not inside a transaction.
    asyncpg.InvalidCachedStatementError,
)

_REASON_LENGTH_MAX = 300


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


def is_read_only(error: BaseException) -> bool:
    """Return whether ``error`` says that its transaction may not write."""
    return any(getattr(cause, "sqlstate", None) == _READ_ONLY for cause in _driver_errors(error))


def is_privilege_missing(error: BaseException) -> bool:
    """Return whether the database refused ``error``'s statement because its role may not do that."""
    return any(isinstance(cause, asyncpg.InsufficientPrivilegeError) for cause in _driver_errors(error))


def described(error: BaseException) -> str | None:
    """Return what may be said of a database's ``error``: message, SQLSTATE, constraint; None for any other error.

    What a caller sent stays out: no parameters, no DETAIL (it shows the row), and not even the message where it may
    repeat values: those that the server or the driver could not take (class 22), and whatever a function raises.
    """
    if not isinstance(error, (exc.SQLAlchemyError, exc.EmulatedDBAPIException, *_DRIVER_TYPES)):
        return None
    cause = next((cause for cause in _driver_errors(error) if isinstance(cause, _DRIVER_TYPES)), None)
    if cause is None:
        # Of what SQLAlchemy itself says, the pool's sentence is all that is known to hold no value.
        return str(error) if isinstance(error, exc.TimeoutError) else type(error).__name__
    sqlstate, constraint = getattr(cause, "sqlstate", None) or "", getattr(cause, "constraint_name", None)
    if isinstance(cause, ValueError) or sqlstate.startswith(_DATA_CLASS):
        message = "a value cannot be used"
    elif not sqlstate or sqlstate.startswith(_TOLD_CLASSES):
        message = first_line(cause)
    else:
        message = "a message that may hold values"
    facts = [fact for fact in (sqlstate and f"SQLSTATE {sqlstate}", constraint and f"constraint {constraint}") if fact]
    return f"{message} ({', '.join(facts)})" if facts else message


def reason(error: BaseException) -> str:
    """Return why ``error`` happened in one line for the log, the same for the same cause: what the database or the
    system said, or else the kind of error and where it was raised. It holds nothing that a client sent.
    """
    causes = [cause for cause in _driver_errors(error) if not isinstance(cause, asyncio.CancelledError)] or [error]
    for cause in causes:
        said = described(cause)
        if said is not None:
            return said[:_REASON_LENGTH_MAX]
    innermost = causes[-1]
    if isinstance(innermost, OSError) and innermost.strerror:
        return f"{type(innermost).__name__}: {innermost.strerror}"
    frames = traceback.extract_tb(innermost.__traceback__ or error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(innermost).__name__}{place}"


def first_line(error: asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError) -> str:
    """Return the driver's message without the DETAIL and HINT that its text adds."""
    return str(error.args[0]).partition("\n")[0] if error.args else type(error).__name__


def _driver_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and the driver's exceptions under it, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "orig", None) or current.__cause__
