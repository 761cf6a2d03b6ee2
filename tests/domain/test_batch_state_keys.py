"""One key, one outcome: replays, keys that stand for something else, and fences."""

import pytest
from msgspec import structs

from service.domain.accounts import AccountDetails
from service.domain.commands import PostTransfer
from service.domain.decisions import Decision
from tests.domain.batches import Batch, words
from tests.support.domain_samples import (
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
    "rejected": post(A, B, 1_000, key=KEY),
}


def batch() -> Batch:
    return Batch(
        in_possession_of(100, A, debits_held=10, minimum_balance=0),
        in_possession_of(10, B, credits_held=10),
        holds=[hold()],
        transfers=[transfer()],
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_repeated_key_replays_and_does_nothing(command: PostTransfer) -> None:
    there = batch()
    [first] = there.execute(command)
    before = there.state()
    [second] = there.execute(command)
    assert (first.replayed, second.replayed) == (False, True)
    assert second.result == first.result
    assert there.state() == before


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_key_that_was_loaded_replays_what_was_decided(command: PostTransfer) -> None:
    earlier = batch()
    [first] = earlier.execute(command)
    there = Batch(decisions=earlier.batch_state.new_decisions)
    [second] = there.execute(command)
    assert (second.result, second.replayed) == (first.result, True)
    assert not there.batch_state.changed


def test_a_rejection_replays_even_when_the_money_has_arrived() -> None:
    there = Batch(account(A, minimum_balance=0), in_possession_of(50, B))
    late = post(A, B, 10, key=KEY)
    assert words([*there.execute(late), *there.execute(post(B, A, 50)), *there.execute(late)]) == [
        "insufficient_funds",
        "transfer",
        "replayed insufficient_funds",
    ]


@pytest.mark.parametrize("first", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    "second",
    [post(A, B, 11, key=KEY), post(A, B, 10, key=KEY, at_most=True), open_hold(A, B, 11, key=KEY), void(B, key=KEY)],
)
def test_a_key_of_another_request_is_rejected_and_not_stored(first: PostTransfer, second: PostTransfer) -> None:
    there = batch()
    there.execute(first)
    before = there.state()
    [answer] = there.execute(second)
    assert words([answer]) == ["idempotency_key_reused"]
    assert there.state() == before


def test_the_same_terms_of_another_operation_are_another_request() -> None:
    there = batch()
    there.execute(post(key=KEY))
    assert words(there.execute(open_hold(key=KEY))) == ["idempotency_key_reused"]


def test_a_key_of_the_opening_of_an_account_is_taken_too() -> None:
    opening = Decision(
        ledger_id=LEDGER,
        client_id=CLIENT,
        idempotency_key=KEY,
        fingerprint=b"account",
        operation="create_account",
        result=AccountDetails(**structs.asdict(account(A)), reference=None, name=None, metadata={}),
        created_at=NOW,
    )
    there = Batch(account(A), account(B), decisions=[opening])
    assert words([*there.execute(post(key=KEY)), *there.execute(fence(KEY))]) == [
        "idempotency_key_reused",
        "replayed fenced",
    ]
    assert not there.batch_state.changed


def test_a_key_belongs_to_its_client() -> None:
    there = batch()
    given = PostTransfer(
        ledger_id=LEDGER,
        client_id="one",
        idempotency_key=KEY,
        debit_account_id=A,
        credit_account_id=B,
        amount=10,
        currency="USD",
    )
    answers = [there.execute(structs.replace(given, client_id=client))[0] for client in ("one", "other", "one")]
    assert words(answers) == ["transfer", "transfer", "replayed transfer"]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_nothing_is_ever_applied_under_a_fenced_key(command: PostTransfer) -> None:
    there = batch()
    there.execute(fence(KEY))
    before = there.state()
    assert words([*there.execute(command), *there.execute(command)]) == ["key_fenced", "key_fenced"]
    assert there.state() == before


def test_a_fence_that_was_loaded_stands() -> None:
    fenced = batch()
    fenced.execute(fence(KEY))
    there = Batch(account(A), account(B), decisions=fenced.batch_state.new_decisions)
    assert words([*there.execute(post(key=KEY)), *there.execute(fence(KEY))]) == ["key_fenced", "replayed fenced"]
    assert not there.batch_state.changed


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_fence_that_comes_late_changes_nothing(command: PostTransfer) -> None:
    there = batch()
    [first] = there.execute(command)
    before = there.state()
    assert words(there.execute(fence(KEY))) == ["replayed fenced"]
    assert there.state() == before
    [again] = there.execute(command)
    assert (again.result, again.replayed) == (first.result, True)


def test_a_fence_closes_one_key_only() -> None:
    there = batch()
    there.execute(fence(KEY))
    assert words(there.execute(post(key="another"))) == ["transfer"]


def test_the_void_of_a_hold_replays_the_hold_as_voided_and_its_opening_as_opened() -> None:
    there = Batch(account(A), account(B))
    opening = open_hold(key="opening")
    [opened] = there.execute(opening)
    [again] = there.execute(opening)
    assert (again.result, again.replayed) == (opened.result, True)
    loaded = Batch(account(A, debits_held=10), account(B, credits_held=10), holds=[hold()])
    [voided] = loaded.execute(void(key=KEY))
    assert words([voided, *loaded.execute(void(key=KEY)), *loaded.execute(void(key="another"))]) == [
        "voided",
        "replayed voided",
        "hold_not_open",
    ]
