"""When a call asks again and when it stops, and that what it then says is so."""

import random
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funds_client import ClientSettings, FundsError, OutcomeUnknownError, TransferView, UnreachableError
from funds_client.errors import InsufficientFundsError, KeyFencedError, OverloadedError, UnauthenticatedError
from funds_client.exchange import Answer
from tests.client.imagined import OVERLOADED, Clock, Fate, ImaginedService, conditions, rent, run

SETTINGS = ClientSettings()
A, LOST, LATE, BUSY = Fate.ANSWERED, Fate.LOST, Fate.LATE, Fate.OVERLOADED


def call(
    fates: list[Fate], settings: ClientSettings = SETTINGS, *, rejects: bool = False, in_doubt: bool = False
) -> tuple[ImaginedService, Clock, TransferView | FundsError]:
    service, clock = ImaginedService(fates, rejects=rejects), Clock()
    try:
        return service, clock, run(rent().course(conditions(clock, settings), in_doubt=in_doubt), service, clock)
    except FundsError as error:
        return service, clock, error


def assert_so(fates: Sequence[Fate], settings: ClientSettings, *, rejects: bool, in_doubt: bool) -> None:
    """Assert that what the call ends with is so, also when everything that was on its way has arrived."""
    service, clock, result = call([*fates], settings, rejects=rejects, in_doubt=in_doubt)
    assert clock.seconds <= 1_000.0 + settings.deadline_seconds + settings.fence_seconds + 1
    posted = (request for request in service.requests if not request.path.endswith("/fence"))
    assert {request.headers["Idempotency-Key"] for request in posted} == {'"rent-may"'}
    service.decide_the_late()
    if isinstance(result, TransferView):
        assert service.applied == 1
    elif not isinstance(result, OutcomeUnknownError):
        assert service.applied == 0, f"{fates}: the call ended with {result!r}"


@pytest.mark.parametrize("in_doubt", [False, True])
def test_what_a_call_says_is_so_whatever_fails(in_doubt: bool) -> None:  # noqa: FBT001
    """Every order of what can happen to the first five requests; nothing is sent after them."""
    kinds = (A, LATE, Fate.ANSWER_LOST, Fate.UNAUTHENTICATED, Fate.FAILED_LATE)
    for fates in product(kinds, repeat=5):
        assert_so(fates, SETTINGS, rejects=False, in_doubt=in_doubt)


@given(
    fates=st.lists(st.sampled_from(Fate), max_size=12),
    rejects=st.booleans(),
    in_doubt=st.booleans(),
    fences=st.booleans(),
)
def test_what_a_call_says_is_so_for_long(
    fates: list[Fate],
    rejects: bool,  # noqa: FBT001
    in_doubt: bool,  # noqa: FBT001
    fences: bool,  # noqa: FBT001
) -> None:
    assert_so(fates, ClientSettings(fences=fences), rejects=rejects, in_doubt=in_doubt)


@pytest.mark.parametrize("fate", [Fate.ANSWER_LOST, Fate.LOST, Fate.FAILED, Fate.FAILED_AFTER, Fate.PROXY, BUSY])
def test_what_may_pass_is_sent_again_as_it_was(fate: Fate) -> None:
    service, _, result = call([fate, A])
    assert isinstance(result, TransferView)
    assert service.requests[0] == service.requests[1]


def test_a_rejection_is_not_sent_again() -> None:
    service, _, result = call([A], rejects=True)
    assert isinstance(result, InsufficientFundsError)
    assert result.reason.shortfall == 5
    assert len(service.requests) == 1


def test_what_is_refused_is_not_sent_again() -> None:
    service, _, result = call([Fate.UNAUTHENTICATED, A])
    assert isinstance(result, UnauthenticatedError)
    assert len(service.requests) == 1


def test_a_refusal_says_nothing_of_the_request_before_it() -> None:
    """The first request may still be on its way: what refuses the second leaves the doubt, and the fence ends it."""
    service, _, result = call([LATE, Fate.UNAUTHENTICATED, A])
    assert isinstance(result, KeyFencedError)
    assert service.requests[-1].path.endswith("/rent-may/fence")


def test_a_resumed_call_is_in_doubt_from_the_start() -> None:
    assert isinstance(call([Fate.UNAUTHENTICATED])[2], UnauthenticatedError)
    assert isinstance(call([Fate.UNAUTHENTICATED, A], in_doubt=True)[2], KeyFencedError)
    assert isinstance(call([Fate.UNAUTHENTICATED], in_doubt=True)[2], OutcomeUnknownError)


def test_without_doubt_nothing_is_fenced() -> None:
    service, _, result = call([BUSY] * 1_000)
    assert isinstance(result, OverloadedError)
    assert not any("fence" in request.path for request in service.requests)
    assert isinstance(call([])[2], UnreachableError)


def test_the_fence_tells_what_came_first() -> None:
    silent = [Fate.ANSWER_LOST] * 3  # three attempts of 10 seconds are the deadline
    assert isinstance(call([*silent, A, A])[2], TransferView)
    assert isinstance(call([LATE, LATE, LATE, A])[2], KeyFencedError)
    assert isinstance(call([*silent, A, A], rejects=True)[2], InsufficientFundsError)


def test_what_a_fence_found_is_not_taken_back_by_a_refusal() -> None:
    _, _, result = call([Fate.ANSWER_LOST, Fate.UNAUTHENTICATED, A, Fate.UNAUTHENTICATED])
    assert isinstance(result, OutcomeUnknownError)


def test_where_not_even_the_fence_arrives_the_intent_is_handed_back() -> None:
    _, _, result = call([LOST] * 100)
    assert isinstance(result, OutcomeUnknownError)
    assert result.intent == rent()


def test_who_resumes_later_need_not_fence() -> None:
    service, _, result = call([LATE] * 100, ClientSettings(fences=False))
    assert isinstance(result, OutcomeUnknownError)
    assert not any("fence" in request.path for request in service.requests)


def test_waits_double_up_to_a_maximum() -> None:
    _, clock, _ = call([BUSY] * 1_000)
    assert clock.waits[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert set(clock.waits[7:]) <= {5.0}


def test_each_wait_is_any_time_up_to_that() -> None:
    dice = random.Random(3)
    waits = [SETTINGS.backoff(2, dice.random()) for _ in range(1_000)]
    assert 0 <= min(waits) < 0.02
    assert 0.38 < max(waits) <= 0.4


def test_retry_after_is_waited_for() -> None:
    service, clock = ImaginedService([]), Clock()
    course = rent().course(conditions(clock, SETTINGS, lambda: 0.5), in_doubt=False)
    course.send(None)
    asked = Answer(status=503, body=OVERLOADED.body, headers={"retry-after": "7"})
    assert course.send(asked).seconds == 7.05
    course.send(None)
    with pytest.raises(OverloadedError):  # it would be later than the deadline
        course.send(Answer(status=503, body=OVERLOADED.body, headers={"retry-after": "60"}))
    assert service.requests == []


def test_an_outage_is_not_multiplied() -> None:
    """However many calls fail, a client sends a fifth more requests than calls, and those that it had saved."""
    settings = ClientSettings(retries_saved_max=10)
    clock = Clock()
    common, sent = conditions(clock, settings), 0
    for _ in range(500):
        service = ImaginedService([BUSY] * 100)
        with pytest.raises(OverloadedError):
            run(rent().course(common, in_doubt=False), service, clock)
        sent += len(service.requests)
    assert 600 <= sent <= 500 * 1.2 + 10
