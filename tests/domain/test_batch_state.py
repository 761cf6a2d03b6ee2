"""What a batch state keeps after decisions: facts, counters, versions, decisions, and what was touched."""

from uuid import UUID

import pytest

from service.domain.commands import Command
from service.domain.history import RequestRejected
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.domain.batches import Batch, words
from tests.support.domain_samples import (
    CLIENT,
    EARLIER,
    HOLD_ID,
    LEDGER,
    NOW,
    TRANSFER_ID,
    A,
    B,
    C,
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


def test_a_batch_state_without_commands_has_nothing_to_store() -> None:
    assert not Batch(account(A), account(B)).batch_state.changed


def test_a_transfer_counts_on_both_sides_and_is_one_change_of_each() -> None:
    batch = Batch(in_possession_of(100, A, version=4), account(B, version=8))
    [answer] = batch.execute(post(A, B, 30))
    state = batch.batch_state
    assert state.new_transfers == [answer.result]
    assert state.accounts == {
        A: in_possession_of(100, A, debits_posted=30, version=5, updated_at=NOW),
        B: in_possession_of(30, B, version=9, updated_at=NOW),
    }
    assert state.touched_accounts == {A: 4, B: 8}
    assert state.changed


def test_each_command_sees_what_those_before_it_did() -> None:
    batch = Batch(in_possession_of(10, A, minimum_balance=0), account(B, minimum_balance=0), account(C))
    answers = [
        *batch.execute(post(B, C, 10, key="too early")),
        *batch.execute(post(A, B, 10, key="funds B")),
        *batch.execute(post(B, C, 10, key="in time")),
        *batch.execute(post(A, C, 1, key="too late")),
    ]
    assert words(answers) == ["insufficient_funds", "transfer", "transfer", "insufficient_funds"]
    assert [batch.batch_state.accounts[one].version for one in (A, B, C)] == [1, 2, 1]
    assert batch.batch_state.touched_accounts == {A: 0, B: 0, C: 0}, "the versions that were loaded"


def test_a_command_by_itself_is_in_no_group() -> None:
    batch = Batch(in_possession_of(10, A), account(B))
    for command in (post(), open_hold()):
        [answer] = batch.execute(command)
        assert not isinstance(answer.result, Rejection)
        assert getattr(answer.result, "group_id", "missing") is None


def test_new_facts_are_named_in_the_order_of_application() -> None:
    batch = Batch(account(A), account(B))
    answers = [batch.execute(post(key=str(number)))[0] for number in range(5)]
    ids = [answer.result.id for answer in answers if isinstance(answer.result, Transfer)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5


def test_an_applied_decision_keeps_its_outcome() -> None:
    batch = Batch(account(A), account(B))
    command = post(key="rent")
    [answer] = batch.execute(command)
    [decision] = batch.batch_state.new_decisions
    assert (decision.ledger_id, decision.client_id, decision.idempotency_key) == (LEDGER, CLIENT, "rent")
    assert (decision.operation, decision.fingerprint) == ("post_transfer", command.fingerprint)
    assert decision.result == answer.result
    assert decision.created_at == NOW
    assert decision.terms is None


@pytest.mark.parametrize(
    ("command", "accounts"),
    [
        (post(A, B, 1_000), (A, B)),
        (open_hold(A, B, 1_000), (A, B)),
        (capture(amount=1_000), (A, B)),
        (void(HOLD_ID), (A, B)),
        (reverse(amount=1_000), (B, A)),
        (capture(TRANSFER_ID), (None, None)),
        (void(TRANSFER_ID), (None, None)),
        (reverse(HOLD_ID), (None, None)),
    ],
    ids=lambda value: value.operation if isinstance(value, Command) else "",
)
def test_a_rejected_decision_keeps_the_terms_and_the_accounts(
    command: Command, accounts: tuple[object, object]
) -> None:
    batch = Batch(
        in_possession_of(10, A, minimum_balance=0),
        account(B),
        holds=[hold(expires_at=NOW)],
        transfers=[transfer()],
    )
    [answer] = batch.execute(command)  # type: ignore[arg-type]
    assert isinstance(answer.result, Rejection)
    [decision] = batch.batch_state.new_decisions
    assert decision.result == answer.result
    assert decision.terms == command.terms()
    assert (decision.debit_account_id, decision.credit_account_id) == accounts
    assert (batch.batch_state.new_transfers, batch.batch_state.new_holds, batch.batch_state.touched_accounts) == (
        [],
        [],
        {},
    )
    assert batch.batch_state.changed, "a rejection is stored"


def test_a_reversal_is_counted_with_those_before_it() -> None:
    batch = Batch(account(A), in_possession_of(10, B), transfers=[transfer()], reversed_amounts={TRANSFER_ID: 3})
    answers = [
        *batch.execute(reverse(key="part", amount=4)),
        *batch.execute(reverse(key="too much", amount=4)),
        *batch.execute(reverse(key="rest")),
        *batch.execute(reverse(key="again")),
    ]
    assert words(answers) == ["transfer", "reversal_exceeds_transfer", "transfer", "already_reversed"]
    assert batch.batch_state.reversed_amounts == {TRANSFER_ID: 10}
    assert batch.batch_state.touched_transfers == {TRANSFER_ID: 3}, "the amount that was loaded"
    assert batch.batch_state.accounts[B].debits_posted == 7


def test_a_rejected_reversal_touches_nothing() -> None:
    batch = Batch(account(A), account(B, minimum_balance=0), transfers=[transfer()])
    assert words(batch.execute(reverse())) == ["insufficient_funds"]
    assert batch.batch_state.touched_transfers == {}
    assert batch.batch_state.reversed_amounts == {}


def test_a_fence_is_a_decision_without_terms() -> None:
    batch = Batch()
    assert words(batch.execute(fence("lost"))) == ["fenced"]
    [decision] = batch.batch_state.new_decisions
    assert (decision.idempotency_key, decision.operation, decision.terms) == ("lost", "fence_key", None)
    assert batch.batch_state.changed


def test_loaded_accounts_and_holds_are_decided_on_as_they_were_loaded() -> None:
    batch = Batch(account(A, status="frozen"), account(B), holds=[hold(created_at=EARLIER)])
    assert words(batch.execute(post())) == ["account_frozen"]
    assert words(batch.execute(void())) == ["voided"]


def test_new_transfers_are_taken_once() -> None:
    """Also behind a group that was taken back."""
    batch = Batch(in_possession_of(10, A, minimum_balance=0), account(B))
    first = [*batch.execute(post(A, B, 1, key="1")), *batch.execute(post(A, B, 2, key="2"))]
    assert list(batch.batch_state.take_transfers()) == [answer.result for answer in first]
    assert list(batch.batch_state.take_transfers()) == []
    batch.execute(post(A, B, 3, key="3"), post(A, B, 100, key="too much"))
    assert list(batch.batch_state.take_transfers()) == []
    group = batch.execute(post(A, B, 3, key="4"), post(A, B, 4, key="5"))
    assert list(batch.batch_state.take_transfers()) == [answer.result for answer in group]
    assert len(batch.batch_state.new_transfers) == 4


def test_what_no_row_of_its_own_tells_is_an_entry_of_the_history() -> None:
    """A rejection, a fence and the end of a hold; not what is a transfer or a hold itself, nor a replay."""
    batch = Batch(
        in_possession_of(10, A, minimum_balance=0, debits_held=10), account(B, credits_held=10), holds=[hold()]
    )
    too_much = post(A, B, 100, key="too much")
    [rejected] = batch.execute(too_much)
    for command in (fence("never"), void(), post(B, A, 1), open_hold(B, A, 1), void(), too_much):
        batch.execute(command)
    entries = batch.batch_state.new_entries
    decision = batch.batch_state.new_decisions[0]
    assert isinstance(rejected.result, Rejection)
    assert entries[0].data == RequestRejected("post_transfer", rejected.result, decision.terms)
    assert [entry.type for entry in entries] == ["command.rejected", "key.fenced", "hold.voided"]
    assert [entry.idempotency_key for entry in entries] == ["too much", "never", "void"]
    assert len({entry.id for entry in entries}) == len(entries)


@pytest.mark.parametrize(("amount", "held", "short"), [(6, 4, set()), (7, 4, {A}), (11, 0, set())])
def test_accounts_are_noted_that_lack_room_for_what_was_asked_while_holds_reserve_some(
    amount: int, held: int, short: set[UUID]
) -> None:
    """Whether less moves than that, or nothing."""
    batch = Batch(in_possession_of(10, A, minimum_balance=0, debits_held=held), account(B, credits_held=held))
    [answer] = batch.execute(post(A, B, amount, at_most=True))
    assert isinstance(answer.result, Transfer)
    assert batch.executor.short_of_room == short
    alone = Batch(in_possession_of(10, A, minimum_balance=0, debits_held=held), account(B, credits_held=held))
    alone.execute(post(A, B, amount))
    assert alone.executor.short_of_room == short
