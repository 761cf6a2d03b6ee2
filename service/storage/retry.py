"""Trying again: which failures, how often, how long. The whole unit of work runs again, on a fresh session."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from copy import copy
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from service.storage.database import Database
from service.storage.errors import Failure, StorageError, classify, reason
from service.storage.places import Places
from service.storage.replica import READ_SECONDS_MAX, Replica

logger = logging.getLogger(__name__)

T = TypeVar("T")

_WAIT_FIRST_SECONDS = 0.01
_WAIT_LONGEST_SECONDS = 0.5
_TRY_SECONDS_MIN = 0.5
_STEP_SECONDS_MAX = 2.0

_limit: ContextVar[asyncio.Timeout] = ContextVar("the time limit of the try under way")


async def run_with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    attempts_max: int,
    deadline_seconds: float,
    outcome_unknown: Callable[[], bool] = lambda: False,
    again_in_doubt: bool = True,
) -> T:
    """Await ``attempt()`` until it succeeds, at most ``attempts_max`` times, for ``deadline_seconds`` in all.

    The deadline bounds a try itself, and not only whether there is another: a connection that fell silent would
    otherwise hold the caller for as long as the driver waits. While there is time for two, a try gets half of what is
    left, so that one more can go by a connection that works. A try that is cut short is cancelled where it stands; if
    its COMMIT had been sent, that is doubt and not failure: the next try must find out, and where it could not
    (``again_in_doubt`` False) there is none.

    Waits between tries grow exponentially with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").
    Only transient failures are tried again (``errors.classify``); the last one is raised as StorageError, with
    ``outcome_unknown()`` asked at that time, and logged with its reason. Any other error is raised as it is.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_seconds
    told: Exception | None = None

    async def bounded() -> T:
        nonlocal told
        left = deadline - loop.time()
        limit = asyncio.timeout(max(left / 2, min(left, _TRY_SECONDS_MIN)))
        try:
            async with limit:
                _limit.set(limit)
                return await attempt()
        except Exception as error:
            if limit.expired() and told is not None:
                raise told from error  # what an earlier try was told says more than that this one took too long
            told = error
            raise

    def may_pass(error: BaseException) -> bool:
        return classify(error) is not None and (again_in_doubt or not outcome_unknown())

    def is_enough(state: RetryCallState) -> bool:
        return state.attempt_number >= attempts_max or loop.time() + state.upcoming_sleep >= deadline

    retrying = AsyncRetrying(
        retry=retry_if_exception(may_pass),
        stop=is_enough,
        wait=wait_random_exponential(multiplier=_WAIT_FIRST_SECONDS, max=_WAIT_LONGEST_SECONDS),
        reraise=True,
    )
    try:
        return await retrying(bounded)
    except Exception as error:
        failure = classify(error)
        if failure is None:
            raise
        logger.warning("the database failed, and so did every further try", extra={"reason": reason(error)})
        raise StorageError(failure, outcome_unknown=outcome_unknown()) from error


def allow_another_step() -> None:
    """Let the try under way go on for _STEP_SECONDS_MAX from now at least, also past its deadline.

    For a try of many steps, each of which the database has answered: it takes long, but it is not held up.
    """
    limit = _limit.get()
    enough = asyncio.get_running_loop().time() + _STEP_SECONDS_MAX
    if enough > (limit.when() or enough):
        limit.reschedule(enough)


class Reader:
    """Runs named queries in READ ONLY transactions, each try on a session of its own; retried while transient.

    This is what read handlers are given: a session cannot be injected itself, for a retry needs a fresh one.
    A reader of single statements leaves the transaction to the server, which saves two round trips of three; one of
    ``snapshots`` sees one moment in all statements of a transaction (REPEATABLE READ).
    With ``places``, each read takes one of them for the client that the reader is for. With a ``replica``, a read is
    tried there first, on ``replica_database``, and the primary is asked when the replica fails or knows too little.
    """

    def __init__(
        self,
        database: Database,
        *,
        attempts_max: int,
        deadline_seconds: float,
        single_statements: bool = False,
        snapshots: bool = False,
        places: Places | None = None,
        replica: Replica | None = None,
        replica_database: Database | None = None,
    ) -> None:
        options: dict[str, Any] = (
            {"isolation_level": "AUTOCOMMIT"} if single_statements else {"postgresql_readonly": True}
        )
        if snapshots:
            options["isolation_level"] = "REPEATABLE READ"
        self._sessions = _reading_sessions(database, options)
        self._replica_sessions = None if replica_database is None else _reading_sessions(replica_database, options)
        self._replica = replica
        self._attempts_max = attempts_max
        self.deadline_seconds = deadline_seconds
        self._places = places
        self._client = ""
        self._note_age: Callable[[datetime], None] = lambda _: None

    def for_client(self, client: str, note_age: Callable[[datetime], None]) -> "Reader":
        """Return the same reader for the work of ``client``; it tells ``note_age`` of every answer of the replica."""
        own = copy(self)
        own._client, own._note_age = client, note_age  # noqa: SLF001 - it is one of us
        return own

    async def __call__(
        self, query: Callable[[AsyncSession], Awaitable[T]], *, enough: Callable[[T], bool] = lambda _: True
    ) -> T:
        """Return what ``query`` answers on its session; an answer of the replica only if it is ``enough``.

        Raises NoPlaceError, or StorageError when every try failed.
        """
        started = asyncio.get_running_loop().time()
        async with nullcontext() if self._places is None else self._places.taken(self._client):
            waited = asyncio.get_running_loop().time() - started
            answer, as_of = await self.read(query, enough=enough, deadline_seconds=self.deadline_seconds - waited)
        if as_of is not None:
            self._note_age(as_of)
        return answer

    async def read(
        self,
        query: Callable[[AsyncSession], Awaitable[T]],
        *,
        enough: Callable[[T], bool] = lambda _: True,
        deadline_seconds: float | None = None,
    ) -> tuple[T, datetime | None]:
        """Return what ``query`` answers within ``deadline_seconds`` (the reader's own by default), without taking a
        place, and for an answer of the replica the time up to which it holds everything; None for one of the primary.

        Raises StorageError when every try failed.
        """
        deadline_seconds = deadline_seconds or self.deadline_seconds
        if self._replica is not None and self._replica.usable and self._replica_sessions is not None:
            started, as_of = asyncio.get_running_loop().time(), self._replica.as_of
            try:
                async with asyncio.timeout(min(READ_SECONDS_MAX, deadline_seconds / 2)):
                    answer = await _read_on(self._replica_sessions, query)
                if enough(answer):
                    return answer, as_of
            except Exception as error:  # noqa: BLE001 - whatever it is there, the primary has the last word
                if classify(error) is not Failure.CONTENTION:  # else this read alone was in the way of what is replayed
                    self._replica.fail(error)
            deadline_seconds -= asyncio.get_running_loop().time() - started
        attempt = partial(_read_on, self._sessions, query)
        return await run_with_retries(attempt, attempts_max=self._attempts_max, deadline_seconds=deadline_seconds), None


def _reading_sessions(database: Database, options: Mapping[str, Any]) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(database.engine.execution_options(**options), expire_on_commit=False, autoflush=False)


async def _read_on(sessions: async_sessionmaker[AsyncSession], query: Callable[[AsyncSession], Awaitable[T]]) -> T:
    async with sessions() as session, session.begin():
        return await query(session)
