"""Trying again: which failures, how often, how long. The whole unit of work runs again, on a fresh session."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from service.storage.database import Database
from service.storage.errors import StorageError, classify, reason

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
        self.deadline_seconds = deadline_seconds

    async def __call__(
        self, query: Callable[[AsyncSession], Awaitable[T]], *, deadline_seconds: float | None = None
    ) -> T:
        """Return what ``query`` answers on its session, within ``deadline_seconds`` (the reader's own by default).

        Raises StorageError when every try failed.
        """

        async def attempt() -> T:
            async with self._sessions() as session, session.begin():
                return await query(session)

        return await run_with_retries(
            attempt, attempts_max=self._attempts_max, deadline_seconds=deadline_seconds or self.deadline_seconds
        )
