"""Groups: commands that apply together or not at all."""

from itertools import permutations
from typing import Any

import pytest
from msgspec import structs

from service.domain.commands import Command
from service.domain.rejections import Rejection
from tests.domain.batches import Batch, words
from tests.support.domain_samples import (
    HOLD_ID,
    NOW,
    TRANSFER_ID,
    A,
    B,
    C,
    account,
    capture,
    hold,
    in_possession_of,
    open_hold,
    post,
    reverse,
    transfer,
    void,
)
from tests.support.rejections import told

SECOND_HOLD = structs.replace(hold(), id=C)
ALL_KINDS = (post(A, B, 7), open_hold(A, B, 3), capture(HOLD_ID, amount=4, final=False), void(C), reverse(amount=6))
HOPELESS = post(A, B, 1_000, key="hopeless")


def busy_batch() -> Batch:
    """Two accounts with holds and a transfer between them."""
    return Batch(
        in_possession_of(100, A, debits_held=20, minimum_balance=0, version=4),
        in_possession_of(50, B, credits_held=20, version=8),
        holds=[hold(), SECOND_HOLD],
        transfers=[transfer()],
    )


def facts(batch: Batch) -> dict[str, Any]:
    """Return all of the batch's state but its decisions."""
    return {name: value for name, value in batch.state().items() if "decisions" not in name}


def test_a_group_applies_whole_in_its_order() -> None:
    batch = Batch(in_possession_of(10, A, minimum_balance=0), account(B, minimum_balance=0), account(C))
    assert words(batch.execute(post(A, B, 10, key="A to B"), post(B, C, 10, key="B to C"))) == ["transfer", "transfer"]
    assert [batch.batch_state.accounts[one].balance for one in (A, B, C)] == [0, 0, 10]


def test_a_chain_in_the_wrong_order_does_not_apply() -> None:
    batch = Batch(in_possession_of(10, A, minimum_balance=0), account(B, minimum_balance=0), account(C))
    answers = batch.execute(post(B, C, 10, key="B to C"), post(A, B, 10, key="A to B"))
    assert words(answers) == ["insufficient_funds", "batch_rejected"]
    assert batch.batch_state.new_transfers == []


def test_transfers_of_a_group_share_a_group_id_of_their_own() -> None:
    batch = Batch(account(A), account(B))
    first = batch.execute(post(key="1"), open_hold(key="2"))
    second = batch.execute(post(key="3"), post(key="4"))
    groups = [{getattr(answer.result, "group_id", None) for answer in group} for group in (first, second)]
    assert [len(group) for group in groups] == [1, 1]
    assert groups[0] != groups[1]
    assert None not in groups[0] | groups[1]


@pytest.mark.parametrize("place", range(len(ALL_KINDS) + 1))
def test_when_one_is_rejected_nothing_of_the_group_stays(place: int) -> None:
    batch = busy_batch()
    before = facts(batch)
    group = [*ALL_KINDS[:place], HOPELESS, *ALL_KINDS[place:]]
    answers = batch.execute(*group)
    assert facts(batch) == before
    assert [word for number, word in enumerate(words(answers)) if number != place] == ["batch_rejected"] * 5
    assert words([answers[place]]) == ["insufficient_funds"]
    assert [decision.result for decision in batch.batch_state.new_decisions] == [answer.result for answer in answers]


def test_after_a_rejected_group_the_next_finds_everything_as_it_was() -> None:
    fresh, tried = busy_batch(), busy_batch()
    tried.execute(
        *(structs.replace(command, idempotency_key=f"first {command.operation}") for command in ALL_KINDS), HOPELESS
    )
    expected, answers = fresh.execute(*ALL_KINDS), tried.execute(*ALL_KINDS)
    assert words(answers) == words(expected) == ["transfer", "open", "transfer", "voided", "transfer"]
    assert tried.batch_state.accounts == fresh.batch_state.accounts
    for name in ("touched_accounts", "touched_holds", "touched_transfers", "reversed_amounts"):
        assert facts(tried)[name] == facts(fresh)[name]


def test_a_rejected_group_keeps_what_was_done_before_it() -> None:
    batch = busy_batch()
    for command in ALL_KINDS:
        assert not isinstance(batch.execute(command)[0].result, Rejection)
    before = facts(batch)
    batch.execute(
        post(A, B, 1, key="1"),
        capture(HOLD_ID, amount=1, final=False, key="2"),
        reverse(amount=1, key="3"),
        HOPELESS,
    )
    assert facts(batch) == before
    assert batch.batch_state.touched_accounts == {A: 4, B: 8}
    assert batch.batch_state.touched_holds == {HOLD_ID: 0, C: 0}
    assert batch.batch_state.touched_transfers == {TRANSFER_ID: 0}


def test_the_other_commands_of_a_rejected_group_are_told_why() -> None:
    answers = busy_batch().execute(post(A, B, 1, key="fine"), HOPELESS, post(A, B, 2, key="fine too"))
    for other in (answers[0], answers[2]):
        assert isinstance(other.result, Rejection)
        assert told(other.result) == {
            "refused_idempotency_key": "hopeless",
            "refused_code": "insufficient_funds",
        }


def test_a_command_that_was_rejected_with_its_group_stays_rejected() -> None:
    batch = busy_batch()
    group = (post(A, B, 1, key="fine"), HOPELESS)
    batch.execute(*group)
    before = batch.state()
    assert words(batch.execute(*group)) == ["replayed batch_rejected", "replayed insufficient_funds"]
    assert words(batch.execute(group[0])) == ["replayed batch_rejected"]
    assert batch.state() == before


def test_a_group_that_comes_again_replays_whole() -> None:
    batch = busy_batch()
    first = batch.execute(*ALL_KINDS)
    before = batch.state()
    second = batch.execute(*ALL_KINDS)
    assert [answer.result for answer in second] == [answer.result for answer in first]
    assert all(answer.replayed for answer in second)
    assert batch.state() == before


def test_a_key_twice_in_a_group_applies_once() -> None:
    batch = busy_batch()
    assert words(batch.execute(post(A, B, 7), post(A, B, 7))) == ["transfer", "replayed transfer"]
    assert len(batch.batch_state.new_transfers) == len(batch.batch_state.new_decisions) == 1


def test_a_rejected_key_twice_in_a_group_is_rejected_once() -> None:
    batch = busy_batch()
    assert words(batch.execute(HOPELESS, HOPELESS)) == ["insufficient_funds", "replayed insufficient_funds"]
    assert len(batch.batch_state.new_decisions) == 1


def test_a_key_of_two_requests_of_a_group_rejects_the_group() -> None:
    batch = busy_batch()
    before = facts(batch)
    answers = batch.execute(post(A, B, 7), post(A, B, 8), post(A, B, 9, key="third"))
    assert words(answers) == ["batch_rejected", "idempotency_key_reused", "batch_rejected"]
    assert facts(batch) == before
    assert len(batch.batch_state.new_decisions) == 2, "a key that is taken cannot be decided on"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_group_with_a_key_that_was_rejected_before_does_not_apply(order: tuple[int, ...]) -> None:
    """One command of the group will never be applied, so no other is applied either."""
    batch = busy_batch()
    batch.execute(HOPELESS)
    before = facts(batch)
    group = [(post(A, B, 1, key="1"), "batch_rejected"), (post(A, B, 2, key="2"), "batch_rejected")]
    group.append((HOPELESS, "replayed insufficient_funds"))
    answers = batch.execute(*(group[place][0] for place in order))
    assert words(answers) == [group[place][1] for place in order]
    assert facts(batch) == before


def test_an_overdue_hold_rejects_the_whole_group() -> None:
    batch = Batch(in_possession_of(100, A, debits_held=10), account(B, credits_held=10), holds=[hold(expires_at=NOW)])
    assert words(batch.execute(post(), capture())) == ["batch_rejected", "hold_expired"]
    assert batch.batch_state.touched_accounts == {}


def test_a_single_command_is_rejected_by_itself() -> None:
    batch = busy_batch()
    commands: tuple[Command, ...] = (HOPELESS, post(A, B, 1))
    assert [word for command in commands for word in words(batch.execute(command))] == [  # type: ignore[arg-type]
        "insufficient_funds",
        "transfer",
    ]
