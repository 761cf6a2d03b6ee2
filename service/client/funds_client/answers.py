"""What an answer, an error and silence mean for a call (service/docs/promises.md), without asking anybody."""

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Struct

from .domain.reasons import Reason
from .domain.rejections import REJECTIONS, ClockBehind
from .domain.rules import KEY_RULES, NOT_REMEMBERED
from .errors import (
    PROBLEM_ERRORS,
    AnswerLostError,
    FundsError,
    OtherProblemError,
    OtherReason,
    ProblemError,
    UnreachableError,
)
from .exchange import Answer, Event, Lost, retry_after
from .wire.catalogue import KINDS
from .wire.problems import Problem
from .wire.reasons import BatchRejected

T = TypeVar("T")

DECIDED = frozenset(reason.code for reason in REJECTIONS if reason not in NOT_REMEMBERED or reason in KEY_RULES)
"""The codes of problems after which nothing will ever be applied under the key, whoever sends what."""

_problem = msgspec.json.Decoder(Problem)
_reason: msgspec.json.Decoder[Reason] = msgspec.json.Decoder(reduce(or_, KINDS))
_members: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_OK = range(200, 300)


class Verdict(Struct, Generic[T], frozen=True, kw_only=True):
    """What came of one request: ``value``, or the ``error`` that its caller gets if nothing better comes."""

    value: T | None = None
    error: FundsError | None = None
    decided: bool = False
    """It stands for ever, whatever was in doubt before."""
    doubt: bool = False
    """It may have been applied, or may still be."""
    passes: bool = False
    """The same request may succeed later."""
    pause_seconds: float = 0.0
    """How long the service asks to wait before."""


def judge(event: Event, read: Callable[[Answer], T]) -> Verdict[T]:
    """Return what ``event`` means for a request whose good answers ``read`` reads."""
    if isinstance(event, Lost):
        if event.sent:
            return _lost(f"No answer came: {event.cause!r}")
        return Verdict(error=UnreachableError(f"The service could not be reached: {event.cause!r}"), passes=True)
    if event.status in _OK:
        return _good(event, read)
    told = problem_error(event.body)
    if told is None:
        return _lost(f"The answer of status {event.status} is not the service's.", retry_after(event))
    unknown = told.problem.outcome == "unknown"
    return Verdict(
        error=told,
        decided=is_decided(told),
        doubt=unknown,
        passes=unknown or told.problem.retryable,
        pause_seconds=retry_after(event),
    )


def _good(answer: Answer, read: Callable[[Answer], T]) -> Verdict[T]:
    try:
        return Verdict(value=read(answer), decided=True)
    except msgspec.ValidationError as error:  # and it will not read better the next time
        message = f"The answer of status {answer.status} is not what this version knows: {error}"
        return Verdict(error=AnswerLostError(message), doubt=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return _lost(f"The answer of status {answer.status} could not be read: {error}")


def _lost(message: str, pause_seconds: float = 0.0) -> Verdict[T]:
    return Verdict(error=AnswerLostError(message), doubt=True, passes=True, pause_seconds=pause_seconds)


def problem_error(body: bytes) -> ProblemError[Any] | None:
    """Return the exception for a problem; None where ``body`` is none. An unknown code has the type for unknown ones,
    and so has a known one whose numbers are not those that this version knows.
    """
    try:
        problem, members = _problem.decode(body), _members.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    code = members.get("code")
    if not isinstance(code, str):
        return None
    if code in PROBLEM_ERRORS:
        try:
            return PROBLEM_ERRORS[code](problem, _reason.decode(body))
        except msgspec.MsgspecError:
            pass
    others = {name: value for name, value in members.items() if name not in {"code", *Problem.__struct_fields__}}
    return OtherProblemError(problem, OtherReason(code, others))


def is_decided(error: ProblemError[Any]) -> bool:
    """Whether the problem is a decision under the key. What applies together has one if the item has that was rejected:
    of one item's problem `refused_code` names that, of a batch's it is among the results.
    """
    codes = [error.code]
    if isinstance(error.reason, BatchRejected):
        results = [] if error.reason.results is UNSET else error.reason.results
        codes = [
            error.reason.refused_code or error.code,
            *(result["problem"]["code"] for result in results if "problem" in result),
        ]
    return DECIDED.issuperset(codes)


def is_for_now(error: ProblemError[Any]) -> bool:
    """Whether an item of a batch was rejected for a cause that passes, its own or its group's."""
    if isinstance(error.reason, BatchRejected):
        return error.reason.refused_code == ClockBehind.code
    return error.problem.retryable
