"""One key, one outcome: replays, keys that stand for something else, and fences."""

import pytest

from service.domain.book import AccountChanged, Decision
from service.domain.commands import PostTransfer
from tests.domain.books import Desk, words
from tests.domain.samples import (
    CLIENT,
    LEDGER,
    NOW,
    A,
    B,
    account,
    capture,
    fence,
    hold,
    in_possession_of,
    open_hold,
    post,
    reverse,
    transfer,
    void,
)

KEY = "key"
COMMANDS = {
    "post": post(A, B, 10, key=KEY),
    "open": open_hold(A, B, 10, key=KEY),
    "capture": capture(amount=5, final=False, key=KEY),
    "void": void(key=KEY),
    "reverse": reverse(key=KEY),
    "refused": post(A, B, 1_000, key=KEY),
}


def desk() -> Desk:
    return Desk(
        in_possession_of(100, A, debits_held=10, minimum_balance=0),
        in_possession_of(10, B, credits_held=10),
        holds=[hold()],
        transfers=[transfer()],
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_key_that_comes_again_replays_and_does_nothing(command: PostTransfer) -> None:
    there = desk()
    [first] = there.do(command)
    before = there.state()
    [second] = there.do(command)
    assert (first.replayed, second.replayed) == (False, True)
    assert second.outcome == first.outcome
    assert there.state() == before


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_key_that_was_loaded_replays_what_was_decided(command: PostTransfer) -> None:
    earlier = desk()
    [first] = earlier.do(command)
    there = Desk(decisions=earlier.book.new_decisions)
    [second] = there.do(command)
    assert (second.outcome, second.replayed) == (first.outcome, True)
    assert not there.book.changed


def test_a_refusal_replays_when_the_money_is_there_at_last() -> None:
    there = Desk(account(A, minimum_balance=0), in_possession_of(50, B))
    late = post(A, B, 10, key=KEY)
    assert words([*there.do(late), *there.do(post(B, A, 50)), *there.do(late)]) == [
        "insufficient_funds",
        "transfer",
        "replayed insufficient_funds",
    ]


@pytest.mark.parametrize("first", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    "second",
    [post(A, B, 11, key=KEY), post(A, B, 10, key=KEY, at_most=True), open_hold(A, B, 11, key=KEY), void(B, key=KEY)],
)
def test_a_key_that_stands_for_another_request_is_refused_and_not_stored(
    first: PostTransfer, second: PostTransfer
) -> None:
    there = desk()
    there.do(first)
    before = there.state()
    [answer] = there.do(second)
    assert words([answer]) == ["idempotency_key_reused"]
    assert there.state() == before


def test_the_same_terms_of_another_operation_are_another_request() -> None:
    there = desk()
    there.do(post(key=KEY))
    assert words(there.do(open_hold(key=KEY))) == ["idempotency_key_reused"]


def test_a_key_of_the_opening_of_an_account_is_taken_too() -> None:
    opening = Decision(
        ledger_id=LEDGER,
        client_id=CLIENT,
        idempotency_key=KEY,
        fingerprint=b"account",
        operation="create_account",
        outcome=AccountChanged(A),
        created_at=NOW,
    )
    there = Desk(account(A), account(B), decisions=[opening])
    assert words([*there.do(post(key=KEY)), *there.do(fence(KEY))]) == ["idempotency_key_reused", "replayed fenced"]
    assert not there.book.changed


def test_a_key_belongs_to_its_client() -> None:
    there = desk()
    terms = {"debit_account_id": A, "credit_account_id": B, "amount": 10, "currency": "USD"}
    answers = [there.do(PostTransfer.of(LEDGER, client, KEY, **terms))[0] for client in ("one", "other", "one")]
    assert words(answers) == ["transfer", "transfer", "replayed transfer"]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_nothing_is_ever_applied_under_a_fenced_key(command: PostTransfer) -> None:
    there = desk()
    there.do(fence(KEY))
    before = there.state()
    assert words([*there.do(command), *there.do(command)]) == ["key_fenced", "key_fenced"]
    assert there.state() == before


def test_a_fence_that_was_loaded_stands() -> None:
    fenced = desk()
    fenced.do(fence(KEY))
    there = Desk(account(A), account(B), decisions=fenced.book.new_decisions)
    assert words([*there.do(post(key=KEY)), *there.do(fence(KEY))]) == ["key_fenced", "replayed fenced"]
    assert not there.book.changed


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_fence_that_comes_late_changes_nothing(command: PostTransfer) -> None:
    there = desk()
    [first] = there.do(command)
    before = there.state()
    assert words(there.do(fence(KEY))) == ["replayed fenced"]
    assert there.state() == before
    [again] = there.do(command)
    assert (again.outcome, again.replayed) == (first.outcome, True)


def test_a_fence_closes_one_key_only() -> None:
    there = desk()
    there.do(fence(KEY))
    assert words(there.do(post(key="another"))) == ["transfer"]


def test_the_void_of_a_hold_replays_the_hold_as_voided_and_its_opening_as_opened() -> None:
    there = Desk(account(A), account(B))
    opening = open_hold(key="opening")
    [opened] = there.do(opening)
    [again] = there.do(opening)
    assert (again.outcome, again.replayed) == (opened.outcome, True)
    loaded = Desk(account(A, debits_held=10), account(B, credits_held=10), holds=[hold()])
    [voided] = loaded.do(void(key=KEY))
    assert words([voided, *loaded.do(void(key=KEY)), *loaded.do(void(key="another"))]) == [
        "voided",
        "replayed voided",
        "hold_not_open",
    ]
