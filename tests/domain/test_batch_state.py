"""What a batch state keeps after decisions: facts, counters, versions, decisions, and what was touched."""

import pytest

from service.domain.commands import Command
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
