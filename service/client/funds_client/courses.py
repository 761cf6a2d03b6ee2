"""The course of a call: when to ask again, when to stop, and how doubt ends. Pure: the clock and chance are given, and
what has to be sent or waited for is yielded to a shell (``exchange.Course``).
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct, structs

from .answers import Verdict, judge
from .errors import AnswerLostError, FundsError, KeyFencedError, OutcomeUnknownError
from .exchange import Answer, Course, Event, Request, Send, Step, Wait
from .settings import ClientSettings, RetryBudget
from .wire.catalogue import KINDS
from .wire.problems import Problem
from .wire.reasons import EarlierRequest, KeyFenced

T = TypeVar("T")


class Conditions(Struct, frozen=True, kw_only=True):
    """Under which a client's calls are made. ``clock`` tells seconds, ``chance`` a number from 0 to 1."""

    settings: ClientSettings
    budget: RetryBudget
    clock: Callable[[], float]
    chance: Callable[[], float]


class Write(Struct, Generic[T], frozen=True, kw_only=True):
    """A request that writes, and what ends the doubt about it."""

    request: Request
    read: Callable[[Answer], T]
    fences: Sequence[Request]
    """A fence for each group of commands that apply together or not at all."""
    intent: Any
    idempotency_key: str | None = None
    """Of a request that has one key."""
    decided: Callable[[T], bool] = lambda _: True
    """Whether all of a result stands for ever."""
    passes: Callable[[T], bool] = lambda _: False
    """Whether some of a result was rejected for a cause that passes."""


class _Outcome(Struct, frozen=True):
    """What a fence tells, as far as it counts here."""

    outcome: str
    decided_at: datetime


_outcome = msgspec.json.Decoder(_Outcome)


def reading(request: Request, read: Callable[[Answer], T], conditions: Conditions, *, wait_seconds: float) -> Course[T]:
    """Read something, whose answer may take ``wait_seconds`` longer than others. Raises FundsError."""
    conditions.budget.add_call()
    settings = replace(conditions.settings, attempt_seconds=conditions.settings.attempt_seconds + wait_seconds)
    until = conditions.clock() + settings.deadline_seconds + wait_seconds
    patient = structs.replace(conditions, settings=settings)
    verdict, _ = yield from _attempts(request, lambda event: judge(event, read), until, patient)
    return _result(verdict)


def writing(write: Write[T], conditions: Conditions, *, in_doubt: bool) -> Course[T]:
    """Have something applied once at most. ``in_doubt``: it may have been sent before, by whoever kept the intent.

    While there is no doubt, what certainly was not applied ends the call. In doubt, only a decision under the key does:
    a request that is refused says nothing of the one before it. Raises FundsError.
    """
    conditions.budget.add_call()
    until = conditions.clock() + conditions.settings.deadline_seconds
    verdict, doubt = yield from _attempts(write.request, lambda event: _judge(write, event), until, conditions)
    if verdict.decided or not (doubt or in_doubt):
        return _result(verdict)
    if not conditions.settings.fences:
        raise OutcomeUnknownError(write.intent) from verdict.error
    return (yield from _ending_doubt(write, conditions))


def _ending_doubt(write: Write[T], conditions: Conditions) -> Course[T]:
    """Make the keys unusable, and ask once more: then whatever is answered stands under them."""
    until = conditions.clock() + conditions.settings.fence_seconds
    for fence in write.fences:
        fenced, _ = yield from _attempts(fence, lambda event: judge(event, _read_outcome), until, conditions)
        if fenced.value is None:
            raise OutcomeUnknownError(write.intent) from fenced.error
        if write.idempotency_key is not None and fenced.value.outcome == "fenced":
            raise _fenced(write.idempotency_key, fence.path, fenced.value.decided_at)
    verdict, _ = yield from _attempts(write.request, lambda event: _judge(write, event), until, conditions)
    if not verdict.decided:
        raise OutcomeUnknownError(write.intent) from verdict.error
    return _result(verdict)


def _attempts(
    request: Request, verdict_on: Callable[[Event], Verdict[T]], until: float, conditions: Conditions
) -> Generator[Step, Event | None, tuple[Verdict[T], bool]]:
    """Send ``request`` until its answer is conclusive, time is over or the budget is spent. Return the last verdict,
    and whether any request left a doubt.
    """
    settings, clock = conditions.settings, conditions.clock
    verdict: Verdict[T] = Verdict(error=AnswerLostError("There was no time left to ask."))
    doubt, retries = False, 0
    while (left := until - clock()) > 0:
        event = yield Send(request=request, seconds=min(settings.attempt_seconds, left))
        assert event is not None, "a shell says what came of each request"
        verdict = verdict_on(event)
        doubt = doubt or verdict.doubt
        pause = verdict.pause_seconds + settings.backoff(retries, conditions.chance())
        if not verdict.passes or clock() + pause >= until or not conditions.budget.take():
            break
        yield Wait(seconds=pause)
        retries += 1
    return verdict, doubt


def _judge(write: Write[T], event: Event) -> Verdict[T]:
    verdict = judge(event, write.read)
    if verdict.value is None or write.decided(verdict.value):
        return verdict
    return Verdict(value=verdict.value, passes=write.passes(verdict.value))


def _result(verdict: Verdict[T]) -> T:
    if verdict.value is not None:
        return verdict.value
    assert isinstance(verdict.error, FundsError), "what has no value has an error"
    raise verdict.error


def _read_outcome(answer: Answer) -> _Outcome:
    return _outcome.decode(answer.body)


def _fenced(key: str, path: str, decided_at: datetime) -> KeyFencedError:
    """Return what the request would be answered from now on."""
    kind = KINDS[KeyFenced]
    problem = Problem(
        type=f"/problems/{KeyFenced.code}",
        title=kind.title,
        status=kind.status,
        detail=kind.explanation,
        instance=path,
        retryable=False,
        outcome="not_applied",
    )
    earlier = EarlierRequest(operation="fence_key", outcome="fenced", decided_at=decided_at)
    return KeyFencedError(problem, KeyFenced(key, earlier))
