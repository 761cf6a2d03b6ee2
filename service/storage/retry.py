"""Trying again: which failures, how often, how long. The whole unit of work runs again, on a fresh session."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    stop_any,
    wait_random_exponential,
)

from service.storage.database import Database
from service.storage.errors import StorageError, classify

T = TypeVar("T")

_WAIT_FIRST_SECONDS = 0.01
_WAIT_LONGEST_SECONDS = 1.0


async def run_with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    attempts_max: int,
    deadline_seconds: float,
    outcome_unknown: Callable[[], bool] = lambda: False,
) -> T:
    """Await ``attempt()`` until it succeeds, at most ``attempts_max`` times and while ``deadline_seconds`` last.

    Waits between tries grow exponentially with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").
    Only transient failures are tried again (``errors.classify``); the last one is raised as StorageError, with
    ``outcome_unknown()`` asked at that time. Any other error is raised as it is.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: classify(error) is not None),
        stop=stop_any(stop_after_attempt(attempts_max), stop_after_delay(deadline_seconds)),
        wait=wait_random_exponential(multiplier=_WAIT_FIRST_SECONDS, max=_WAIT_LONGEST_SECONDS),
        reraise=True,
    )
    try:
        return await retrying(attempt)
    except Exception as error:
        failure = classify(error)
        if failure is None:
            raise
        raise StorageError(failure, outcome_unknown=outcome_unknown()) from error


class Reader:
    """Runs named queries in READ ONLY transactions, each try on a session of its own; retried while transient.

    This is what read handlers are given: a session cannot be injected itself, for a retry needs a fresh one.
    A reader of single statements leaves the transaction to the server, which saves two round trips of three.
    """

    def __init__(
        self, database: Database, *, attempts_max: int, deadline_seconds: float, single_statements: bool = False
    ) -> None:
        options = {"isolation_level": "AUTOCOMMIT"} if single_statements else {"postgresql_readonly": True}
        self._sessions = async_sessionmaker(
            database.engine.execution_options(**options), expire_on_commit=False, autoflush=False
        )
        self._attempts_max = attempts_max
        self._deadline_seconds = deadline_seconds

    async def __call__(self, query: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Return what ``query`` answers on its session. Raises StorageError when every try failed."""

        async def attempt() -> T:
            async with self._sessions() as session, session.begin():
                return await query(session)

        return await run_with_retries(attempt, attempts_max=self._attempts_max, deadline_seconds=self._deadline_seconds)
