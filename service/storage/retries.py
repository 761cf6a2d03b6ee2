"""Retries of work that failed for a transient reason: which failures, how often, and for how long."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from service.errors import StorageError
from service.settings import RetryLimits
from service.storage.errors import classify, reason, sqlstate_of
from service.telemetry import metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")

_WAIT_FIRST_SECONDS = 0.01
_WAIT_LONGEST_SECONDS = 0.5
_ATTEMPT_SECONDS_MIN = 0.5
_STEP_SECONDS_MAX = 2.0

_limit: ContextVar[asyncio.Timeout] = ContextVar("the time limit of the attempt under way")


async def run_with_retries(
    attempt: Callable[[], Awaitable[T]],
    limits: RetryLimits,
    *,
    in_doubt: Callable[[], bool] = lambda: False,
    again_in_doubt: bool = True,
) -> T:
    """Await ``attempt()`` until it succeeds, at most ``limits.attempts_max`` times, ``limits.deadline_seconds`` in all.

    The deadline also limits each attempt: on a connection whose server no longer answers, the caller would otherwise
    wait as long as the driver does. While there is time for two attempts, one gets half of the time that is left, so
    that another can follow on a connection that works. An attempt whose time is over is cancelled. If its COMMIT had
    been sent, the failure is in doubt, and the next attempt must find out whether the work was done. Where it could not
    find out (``again_in_doubt`` False), there is no next attempt.

    The waits between attempts grow exponentially with full jitter (AWS Architecture Blog, "Exponential Backoff And
    Jitter"). Only transient failures lead to another attempt (``errors.classify``). The last one is logged with its
    reason and raised as StorageError, with the value that ``in_doubt()`` has then. Any other error is raised as it is.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.deadline_seconds
    previous: Exception | None = None

    async def bounded_attempt() -> T:
        nonlocal previous
        left = deadline - loop.time()
        limit = asyncio.timeout(max(left / 2, min(left, _ATTEMPT_SECONDS_MIN)))
        try:
            async with limit:
                _limit.set(limit)
                return await attempt()
        except Exception as error:
            if limit.expired() and previous is not None:
                raise previous from error  # the error of an earlier attempt tells more than this time-out
            previous = error
            raise

    def may_pass(error: BaseException) -> bool:
        return classify(error) is not None and (again_in_doubt or not in_doubt())

    def is_last(state: RetryCallState) -> bool:
        return state.attempt_number >= limits.attempts_max or loop.time() + state.upcoming_sleep >= deadline

    retrying = AsyncRetrying(
        retry=retry_if_exception(may_pass),
        stop=is_last,
        wait=wait_random_exponential(multiplier=_WAIT_FIRST_SECONDS, max=_WAIT_LONGEST_SECONDS),
        before_sleep=_count_retry,
        reraise=True,
    )
    try:
        return await retrying(bounded_attempt)
    except Exception as error:
        failure = classify(error)
        if failure is None:
            raise
        logger.warning("the database failed in every attempt", extra={"reason": reason(error)})
        raise StorageError(failure, in_doubt=in_doubt()) from error


def _count_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    metrics.retries.add((error and sqlstate_of(error)) or metrics.NO_SQLSTATE)


def allow_another_step() -> None:
    """Extend the attempt under way: it may go on for at least _STEP_SECONDS_MAX from now, even past its deadline.

    For an attempt of many steps, each of which the database has answered: it takes long, but nothing holds it up.
    """
    limit = _limit.get()
    end = asyncio.get_running_loop().time() + _STEP_SECONDS_MAX
    if end > (limit.when() or end):
        limit.reschedule(end)
