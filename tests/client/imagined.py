"""A service that is imagined: what it might do to each request of one call, and what it then answers. Time is a number,
and passes when somebody waits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

import httpx
import msgspec

from funds_client import ClientSettings, Intent
from funds_client.courses import Conditions
from funds_client.exchange import Answer, Course, Event, Lost, Request, Send
from funds_client.ledger_intents import Intents
from funds_client.settings import RetryBudget

T = TypeVar("T")

KEY = "rent-may"
TRANSFER = {
    "id": str(UUID(int=7)), "ledger": "main",
    "debit_account_id": str(UUID(int=1)), "credit_account_id": str(UUID(int=2)),
    "amount": 5, "currency": "USD", "debit_account_version": 1, "credit_account_version": 1, "debit_balance_after": -5,
    "credit_balance_after": 5, "hold_id": None, "reverses_id": None, "group_id": None, "reference": None,
    "description": None, "metadata": {}, "client": "tests", "effective_at": "2026-11-28T00:00:00Z",
    "created_at": "2026-11-28T00:00:00Z",
}  # fmt: skip


class Fate(Enum):
    """What becomes of a request."""

    ANSWERED = "it is decided, and answered"
    NOT_SENT = "there is no connection"
    LOST = "it never arrives"
    ANSWER_LOST = "it is decided, and the answer is lost"
    LATE = "it is decided later, when nobody waits any more"
    OVERLOADED = "it is refused for now"
    UNAUTHENTICATED = "it is refused"
    FAILED = "the service cannot tell what became of it, and nothing did"
    FAILED_AFTER = "the service cannot tell what became of it, and it was decided"
    FAILED_LATE = "the service cannot tell what became of it, and it is decided later"
    PROXY = "a proxy answers in the service's place, after the service has decided"


_DECIDES = {Fate.ANSWERED, Fate.ANSWER_LOST, Fate.FAILED_AFTER, Fate.PROXY}
_LATE = {Fate.LATE, Fate.FAILED_LATE}


def problem(code: str, status: int, *, retryable: bool = False, outcome: str = "not_applied", **members: Any) -> Answer:
    told = {
        "type": f"/problems/{code}", "title": code, "status": status, "detail": code, "instance": "/",
        "retryable": retryable, "outcome": outcome, "code": code,
    } | members  # fmt: skip
    return Answer(status=status, body=msgspec.json.encode(told))


OVERLOADED = problem("overloaded", 503, retryable=True)
UNAUTHENTICATED = problem("unauthenticated", 401)
FAILED = problem("internal_error", 500, outcome="unknown")
FUNDS: dict[str, Any] = {
    "balance": 0,
    "held": 0,
    "available_balance": 0,
    "minimum_balance": 0,
    "amount": 5,
    "shortfall": 5,
}
INSUFFICIENT = problem("insufficient_funds", 422, account_id=str(UUID(int=1)), **FUNDS)
FENCED = problem(
    "key_fenced", 409, idempotency_key=KEY,
    earlier_request={"operation": "fence_key", "outcome": "fenced", "decided_at": "2026-11-28T00:00:00Z"},
)  # fmt: skip

_ANSWERS = {
    Fate.OVERLOADED: OVERLOADED,
    Fate.UNAUTHENTICATED: UNAUTHENTICATED,
    Fate.FAILED: FAILED,
    Fate.FAILED_AFTER: FAILED,
    Fate.FAILED_LATE: FAILED,
    Fate.PROXY: Answer(status=502, body=b"<html>Bad gateway</html>"),
}


@dataclass
class ImaginedService:
    """Decides on one transfer, once. ``fates`` are those of its requests and fences, in turn; after them nothing is
    sent any more.
    """

    fates: list[Fate]
    rejects: bool = False
    decided: Answer | None = None
    applied: int = 0
    late: list[Request] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def take(self, request: Request) -> tuple[Event, bool]:
        """Return what comes of ``request``, and whether that took all of the time that there was."""
        fate = self.fates[len(self.requests)] if len(self.requests) < len(self.fates) else Fate.NOT_SENT
        self.requests.append(request)
        if fate in _DECIDES:
            answer = self.decide(request)
        if fate in _LATE:
            self.late.append(request)
        if fate is Fate.ANSWERED:
            return answer, False
        if fate is Fate.NOT_SENT:
            return Lost(cause=httpx.ConnectError("refused"), sent=False), False
        if fate in _ANSWERS:
            return _ANSWERS[fate], False
        return Lost(cause=httpx.ReadTimeout("silence"), sent=True), True

    def decide(self, request: Request) -> Answer:
        fence = request.path.endswith("/fence")
        if self.decided is None:
            if not fence and not self.rejects:
                self.applied += 1
            transfer = INSUFFICIENT if self.rejects else Answer(status=201, body=msgspec.json.encode(TRANSFER))
            self.decided = FENCED if fence else transfer
        if not fence:
            return self.decided
        outcome = "fenced" if self.decided is FENCED else "rejected" if self.rejects else "applied"
        return Answer(
            status=200,
            body=msgspec.json.encode({"outcome": outcome, "decided_at": "2026-11-28T00:00:00Z"}),
        )

    def decide_the_late(self) -> None:
        for request in self.late:
            self.decide(request)


@dataclass
class Clock:
    seconds: float = 1_000.0
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.seconds


def conditions(clock: Clock, settings: ClientSettings, chance: Callable[[], float] = lambda: 1.0) -> Conditions:
    return Conditions(settings=settings, budget=RetryBudget(settings), clock=clock, chance=chance)


def run(course: Course[T], service: ImaginedService, clock: Clock) -> T:
    """Run ``course`` against ``service`` to its result."""
    event = None
    while True:
        try:
            step = course.send(event)
        except StopIteration as end:
            result: T = end.value
            return result
        event = None
        if isinstance(step, Send):
            event, slow = service.take(step.request)
            clock.seconds += step.seconds if slow else 0.01
        else:
            clock.waits.append(step.seconds)
            clock.seconds += step.seconds


def rent() -> Intent[Any]:
    return Intents("main").transfer(debit=UUID(int=1), credit=UUID(int=2), amount=5, currency="USD", key=KEY)
