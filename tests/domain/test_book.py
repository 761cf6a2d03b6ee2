"""What a book keeps of what it decided: facts, counters, versions, decisions, and what was touched."""

import pytest

from service.domain.commands import Command
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.domain.books import Desk, words
from tests.domain.samples import (
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


def test_a_book_that_nobody_asked_has_nothing_to_store() -> None:
    assert not Desk(account(A), account(B)).book.changed


def test_a_transfer_counts_on_both_sides_and_is_one_change_of_each() -> None:
    desk = Desk(in_possession_of(100, A, version=4), account(B, version=8))
    [answer] = desk.do(post(A, B, 30))
    book = desk.book
    assert book.new_transfers == [answer.outcome]
    assert book.accounts == {
        A: in_possession_of(100, A, debits_posted=30, version=5, updated_at=NOW),
        B: in_possession_of(30, B, version=9, updated_at=NOW),
    }
    assert book.touched_accounts == {A: 4, B: 8}
    assert book.changed


def test_each_command_sees_what_those_before_it_did() -> None:
    desk = Desk(in_possession_of(10, A, minimum_balance=0), account(B, minimum_balance=0), account(C))
    answers = [
        *desk.do(post(B, C, 10, key="too early")),
        *desk.do(post(A, B, 10, key="funds B")),
        *desk.do(post(B, C, 10, key="in time")),
        *desk.do(post(A, C, 1, key="too late")),
    ]
    assert words(answers) == ["insufficient_funds", "transfer", "transfer", "insufficient_funds"]
    assert [desk.book.accounts[one].version for one in (A, B, C)] == [1, 2, 1]
    assert desk.book.touched_accounts == {A: 0, B: 0, C: 0}, "the versions that were loaded"


def test_a_command_by_itself_is_in_no_group() -> None:
    desk = Desk(in_possession_of(10, A), account(B))
    for command in (post(), open_hold()):
        [answer] = desk.do(command)
        assert not isinstance(answer.outcome, Rejection)
        assert getattr(answer.outcome, "group_id", "missing") is None


def test_new_facts_are_named_in_the_order_of_application() -> None:
    desk = Desk(account(A), account(B))
    answers = [desk.do(post(key=str(number)))[0] for number in range(5)]
    ids = [answer.outcome.id for answer in answers if isinstance(answer.outcome, Transfer)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5


def test_an_applied_decision_keeps_its_outcome() -> None:
    desk = Desk(account(A), account(B))
    command = post(key="rent")
    [answer] = desk.do(command)
    [decision] = desk.book.new_decisions
    assert (decision.ledger_id, decision.client_id, decision.idempotency_key) == (LEDGER, CLIENT, "rent")
    assert (decision.operation, decision.fingerprint) == ("post_transfer", command.fingerprint)
    assert decision.outcome == answer.outcome
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
def test_a_refusal_keeps_what_was_asked_and_of_which_accounts(
    command: Command, accounts: tuple[object, object]
) -> None:
    desk = Desk(
        in_possession_of(10, A, minimum_balance=0),
        account(B),
        holds=[hold(expires_at=NOW)],
        transfers=[transfer()],
    )
    [answer] = desk.do(command)  # type: ignore[arg-type]
    assert isinstance(answer.outcome, Rejection)
    [decision] = desk.book.new_decisions
    assert decision.outcome == answer.outcome
    assert decision.terms == command.terms()
    assert (decision.debit_account_id, decision.credit_account_id) == accounts
    assert (desk.book.new_transfers, desk.book.new_holds, desk.book.touched_accounts) == ([], [], {})
    assert desk.book.changed, "a refusal is stored"


def test_a_reversal_is_counted_with_those_before_it() -> None:
    desk = Desk(account(A), in_possession_of(10, B), transfers=[transfer()], reversed_amounts={TRANSFER_ID: 3})
    answers = [
        *desk.do(reverse(key="part", amount=4)),
        *desk.do(reverse(key="too much", amount=4)),
        *desk.do(reverse(key="rest")),
        *desk.do(reverse(key="again")),
    ]
    assert words(answers) == ["transfer", "reversal_exceeds_transfer", "transfer", "already_reversed"]
    assert desk.book.reversed_amounts == {TRANSFER_ID: 10}
    assert desk.book.touched_transfers == {TRANSFER_ID: 3}, "the amount that was loaded"
    assert desk.book.accounts[B].debits_posted == 7


def test_a_refused_reversal_touches_nothing() -> None:
    desk = Desk(account(A), account(B, minimum_balance=0), transfers=[transfer()])
    assert words(desk.do(reverse())) == ["insufficient_funds"]
    assert desk.book.touched_transfers == {}
    assert desk.book.reversed_amounts == {}


def test_a_fence_is_a_decision_without_terms() -> None:
    desk = Desk()
    assert words(desk.do(fence("lost"))) == ["fenced"]
    [decision] = desk.book.new_decisions
    assert (decision.idempotency_key, decision.operation, decision.terms) == ("lost", "fence_key", None)
    assert desk.book.changed


def test_what_was_loaded_is_asked_as_it_was_loaded() -> None:
    desk = Desk(account(A, status="frozen"), account(B), holds=[hold(created_at=EARLIER)])
    assert words(desk.do(post())) == ["account_frozen"]
    assert words(desk.do(void())) == ["voided"]
