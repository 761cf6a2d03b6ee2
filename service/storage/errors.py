"""Classification of the database driver's errors: by SQLSTATE and constraint name. Of a message's text only the name of
a constraint is used, where there is no field of it: a node of Citus passes on no more of what it refused.
"""

import asyncio
import os
import re
import socket
import ssl
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from service.errors import DatabaseUnusableError, Failure, NotConnectedError, StorageError, UnexpectedRowCountError
from service.storage import constraints

_CONTENTION = frozenset({"40001", "40P01", "55P03"})  # serialization failure, deadlock, lock timeout
# Classes of SQLSTATEs: connection; authorization (a role that is lost or locked, a password that changed); resources;
# operator intervention or timeout; system.
_UNAVAILABLE_CLASSES = ("08", "28", "53", "57", "58")
_READ_ONLY = "25006"
_UNAVAILABLE = frozenset(
    {
        _READ_ONLY,  # a write reached a server that has become read-only: failover
        "3D000",  # the database is gone, or not there yet
        "42501",  # a privilege of the service's role was revoked: an operator must grant it again
    }
)
# What Citus calls an error that a node did not tell itself, because its connection broke: also that of a COMMIT.
_INTERNAL, _PASSED_ON_BY = "XX000", "ReportResultError"

_DATA_CLASS = "22"
# Classes of SQLSTATEs whose messages speak of connections, objects and states only. Any other message may repeat what a
# caller sent: for example one that a function of the operator's raises (P0001, or an SQLSTATE of its own).
_TOLD_CLASSES = ("08", "0A", "23", "25", "26", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "XX")

_DRIVER_TYPES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


_UNAVAILABLE_TYPES = (
    NotConnectedError,
    OSError,  # refused, reset, or timed out (TimeoutError)
    asyncpg.InterfaceError,  # the connection is closed
    asyncpg.InternalClientError,
    # The type of a column changed after a statement was prepared. The driver prepares it anew, but not inside a
    # transaction.
    asyncpg.InvalidCachedStatementError,
)

_REASON_LENGTH_MAX = 300

_CONSTRAINTS = frozenset(name for constant, name in vars(constraints).items() if constant.isupper())
_WORD = re.compile(r"\w+")


def classify(error: BaseException) -> Failure | None:
    """Return what kind of transient failure ``error`` is, or None if another attempt would fail the same way.

    A StorageError is final whatever its cause: no attempts are left, or another attempt would be wrong.
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
    if isinstance(error, _of_sqlalchemy("DBAPIError")) and error.connection_invalidated:
        return True
    sqlstate = getattr(error, "sqlstate", None)
    return (
        isinstance(error, _UNAVAILABLE_TYPES)
        or _is_pool_exhausted(error)
        or sqlstate in _UNAVAILABLE
        or (sqlstate == _INTERNAL and getattr(error, "server_source_function", None) == _PASSED_ON_BY)
        or (sqlstate or "").startswith(_UNAVAILABLE_CLASSES)
    )


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of ``error``, that of the driver's exception itself; None for what has none."""
    found = [getattr(cause, "sqlstate", None) for cause in _driver_errors(error)]
    return next((sqlstate for sqlstate in reversed(found) if sqlstate), None)


def violated_constraint(error: BaseException) -> str | None:
    """Return the name of the constraint that was violated (SQLSTATE class 23), or None for any other error."""
    for cause in _driver_errors(error):
        if isinstance(cause, asyncpg.IntegrityConstraintViolationError):
            told = cause.constraint_name or next(filter(_is_ours, _WORD.findall(first_line(cause))), None)
            return _ours(told) if told else cause.column_name or "unnamed"
    return None


def _ours(constraint: str) -> str:
    """Return what we call a constraint. On a distributed table, that of a shard has the shard's number behind it."""
    whole, _, shard = constraint.rpartition("_")
    return whole if shard.isdigit() and whole in _CONSTRAINTS else constraint


def _is_ours(word: str) -> bool:
    return _ours(word) in _CONSTRAINTS


def is_refusal(error: BaseException) -> bool:
    """Return whether the database refused a statement: by an error of its own, or by not changing the rows that it
    should have changed.
    """
    return any(isinstance(cause, asyncpg.PostgresError | UnexpectedRowCountError) for cause in _driver_errors(error))


def is_read_only(error: BaseException) -> bool:
    """Return whether ``error`` says that its transaction may not write."""
    return any(getattr(cause, "sqlstate", None) == _READ_ONLY for cause in _driver_errors(error))


def is_statement_timeout(error: BaseException) -> bool:
    """Return whether the server ended a statement because it took too long, or because somebody asked it to."""
    return any(isinstance(cause, asyncpg.QueryCanceledError) for cause in _driver_errors(error))


def is_malformed(error: BaseException) -> bool:
    """Return whether the database could not read a value as what a statement took it for: a text as a number."""
    return any(str(getattr(cause, "sqlstate", "")).startswith(_DATA_CLASS) for cause in _driver_errors(error))


def is_privilege_missing(error: BaseException) -> bool:
    """Return whether the database refused ``error``'s statement because its role may not do that."""
    return any(isinstance(cause, asyncpg.InsufficientPrivilegeError) for cause in _driver_errors(error))


def described(error: BaseException) -> str | None:
    """Return what may be logged of a database's ``error``: message, SQLSTATE, constraint; None for any other error.

    Nothing that a caller sent is in it: no parameters, no DETAIL (it shows the row), and no message that may repeat
    values: of a value that the server or the driver could not take (class 22), or one that a function raised.
    """
    if not isinstance(error, (*_of_sqlalchemy("SQLAlchemyError", "EmulatedDBAPIException"), *_DRIVER_TYPES)):
        return None
    cause = next((cause for cause in _driver_errors(error) if isinstance(cause, _DRIVER_TYPES)), None)
    if cause is None:
        # Of SQLAlchemy's own messages, only that of the pool's time-out is known to contain no value.
        return str(error) if _is_pool_exhausted(error) else type(error).__name__
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
    """Return in one line for the log why ``error`` happened; the same cause gives the same line.

    The line is what the database or the system said, or else the kind of error and where it was raised. It contains
    nothing that a client sent.
    """
    causes = [cause for cause in _driver_errors(error) if not isinstance(cause, asyncio.CancelledError)] or [error]
    for cause in causes:
        said = described(cause)
        if said is not None:
            return said[:_REASON_LENGTH_MAX]
    innermost = causes[-1]
    if isinstance(innermost, DatabaseUnusableError):
        return str(innermost)[:_REASON_LENGTH_MAX]
    if isinstance(innermost, OSError) and innermost.strerror:
        return f"{type(innermost).__name__}: {innermost.strerror}"
    frames = traceback.extract_tb(innermost.__traceback__ or error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(innermost).__name__}{place}"


def why_away(error: OSError) -> str:
    """Return in some words why a server cannot be reached."""
    if isinstance(error, socket.gaierror):
        return error.strerror or "the host is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails ({error.reason or 'no reason given'})"
    if isinstance(error, TimeoutError) or error.errno is None:
        return str(error).partition("\n")[0] or "no answer in time"
    return os.strerror(error.errno)


def first_line(error: asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError) -> str:
    """Return the driver's message without the DETAIL and HINT that its text adds."""
    return str(error.args[0]).partition("\n")[0] if error.args else type(error).__name__


def _of_sqlalchemy(*names: str) -> tuple[Any, ...]:
    """Return the types of SQLAlchemy's exceptions of these names; none in a process that has not loaded it, which it
    takes a third of a second to do.
    """
    exceptions = sys.modules.get("sqlalchemy.exc")
    return () if exceptions is None else tuple(getattr(exceptions, name) for name in names)


def _is_pool_exhausted(error: BaseException) -> bool:
    """Return whether no connection of the pool became free in time."""
    return isinstance(error, _of_sqlalchemy("TimeoutError"))


def _driver_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and the driver's exceptions under it, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "orig", None) or current.__cause__
