"""Units: commands that apply together or not at all."""

from itertools import permutations
from typing import Any

import pytest
from msgspec import structs

from service.domain.commands import Command
from service.domain.rejections import Rejection
from tests.domain.books import Desk, words
from tests.domain.samples import (
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

SECOND_HOLD = structs.replace(hold(), id=C)
ALL_KINDS = (post(A, B, 7), open_hold(A, B, 3), capture(HOLD_ID, amount=4, final=False), void(C), reverse(amount=6))
HOPELESS = post(A, B, 1_000, key="hopeless")


def busy_desk() -> Desk:
    """Two accounts with holds and a transfer between them."""
    return Desk(
        in_possession_of(100, A, debits_held=20, minimum_balance=0, version=4),
        in_possession_of(50, B, credits_held=20, version=8),
        holds=[hold(), SECOND_HOLD],
        transfers=[transfer()],
    )


def facts(desk: Desk) -> dict[str, Any]:
    """All of the desk's state but its decisions."""
    return {name: value for name, value in desk.state().items() if "decisions" not in name}


def test_a_unit_applies_whole_in_its_order() -> None:
    desk = Desk(in_possession_of(10, A, minimum_balance=0), account(B, minimum_balance=0), account(C))
    assert words(desk.do(post(A, B, 10, key="A to B"), post(B, C, 10, key="B to C"))) == ["transfer", "transfer"]
    assert [desk.book.accounts[one].balance for one in (A, B, C)] == [0, 0, 10]


def test_a_chain_in_the_wrong_order_does_not_apply() -> None:
    desk = Desk(in_possession_of(10, A, minimum_balance=0), account(B, minimum_balance=0), account(C))
    answers = desk.do(post(B, C, 10, key="B to C"), post(A, B, 10, key="A to B"))
    assert words(answers) == ["insufficient_funds", "batch_rejected"]
    assert desk.book.new_transfers == []


def test_what_applies_together_shares_a_group_of_its_own() -> None:
    desk = Desk(account(A), account(B))
    first = desk.do(post(key="1"), open_hold(key="2"))
    second = desk.do(post(key="3"), post(key="4"))
    groups = [{getattr(answer.outcome, "group_id", None) for answer in unit} for unit in (first, second)]
    assert [len(group) for group in groups] == [1, 1]
    assert groups[0] != groups[1]
    assert None not in groups[0] | groups[1]


@pytest.mark.parametrize("place", range(len(ALL_KINDS) + 1))
def test_when_one_is_refused_nothing_of_the_unit_stays(place: int) -> None:
    desk = busy_desk()
    before = facts(desk)
    unit = [*ALL_KINDS[:place], HOPELESS, *ALL_KINDS[place:]]
    answers = desk.do(*unit)
    assert facts(desk) == before
    assert [word for number, word in enumerate(words(answers)) if number != place] == ["batch_rejected"] * 5
    assert words([answers[place]]) == ["insufficient_funds"]
    assert [decision.outcome for decision in desk.book.new_decisions] == [answer.outcome for answer in answers]


def test_after_a_refused_unit_the_next_finds_everything_as_it_was() -> None:
    fresh, tried = busy_desk(), busy_desk()
    tried.do(
        *(structs.replace(command, idempotency_key=f"first {command.operation}") for command in ALL_KINDS), HOPELESS
    )
    expected, answers = fresh.do(*ALL_KINDS), tried.do(*ALL_KINDS)
    assert words(answers) == words(expected) == ["transfer", "open", "transfer", "voided", "transfer"]
    assert tried.book.accounts == fresh.book.accounts
    for name in ("touched_accounts", "touched_holds", "touched_transfers", "reversed_amounts"):
        assert facts(tried)[name] == facts(fresh)[name]


def test_a_refused_unit_keeps_what_was_done_before_it() -> None:
    desk = busy_desk()
    for command in ALL_KINDS:
        assert not isinstance(desk.do(command)[0].outcome, Rejection)
    before = facts(desk)
    desk.do(
        post(A, B, 1, key="1"),
        capture(HOLD_ID, amount=1, final=False, key="2"),
        reverse(amount=1, key="3"),
        HOPELESS,
    )
    assert facts(desk) == before
    assert desk.book.touched_accounts == {A: 4, B: 8}
    assert desk.book.touched_holds == {HOLD_ID: 0, C: 0}
    assert desk.book.touched_transfers == {TRANSFER_ID: 0}


def test_the_companions_of_a_refused_command_are_told_why() -> None:
    answers = busy_desk().do(post(A, B, 1, key="fine"), HOPELESS, post(A, B, 2, key="fine too"))
    for companion in (answers[0], answers[2]):
        assert isinstance(companion.outcome, Rejection)
        assert companion.outcome.members == {
            "refused_idempotency_key": "hopeless",
            "refused_code": "insufficient_funds",
        }


def test_what_was_refused_with_its_company_stays_refused() -> None:
    desk = busy_desk()
    unit = (post(A, B, 1, key="fine"), HOPELESS)
    desk.do(*unit)
    before = desk.state()
    assert words(desk.do(*unit)) == ["replayed batch_rejected", "replayed insufficient_funds"]
    assert words(desk.do(unit[0])) == ["replayed batch_rejected"]
    assert desk.state() == before


def test_a_unit_that_comes_again_replays_whole() -> None:
    desk = busy_desk()
    first = desk.do(*ALL_KINDS)
    before = desk.state()
    second = desk.do(*ALL_KINDS)
    assert [answer.outcome for answer in second] == [answer.outcome for answer in first]
    assert all(answer.replayed for answer in second)
    assert desk.state() == before


def test_a_key_twice_in_a_unit_applies_once() -> None:
    desk = busy_desk()
    assert words(desk.do(post(A, B, 7), post(A, B, 7))) == ["transfer", "replayed transfer"]
    assert len(desk.book.new_transfers) == len(desk.book.new_decisions) == 1


def test_a_refused_key_twice_in_a_unit_is_refused_once() -> None:
    desk = busy_desk()
    assert words(desk.do(HOPELESS, HOPELESS)) == ["insufficient_funds", "replayed insufficient_funds"]
    assert len(desk.book.new_decisions) == 1


def test_a_key_that_stands_for_two_requests_of_a_unit_refuses_it() -> None:
    desk = busy_desk()
    before = facts(desk)
    answers = desk.do(post(A, B, 7), post(A, B, 8), post(A, B, 9, key="third"))
    assert words(answers) == ["batch_rejected", "idempotency_key_reused", "batch_rejected"]
    assert facts(desk) == before
    assert len(desk.book.new_decisions) == 2, "a key that is taken cannot be decided on"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_unit_with_a_key_that_was_refused_before_does_not_apply(order: tuple[int, ...]) -> None:
    """One of it will never be applied, so none of it is."""
    desk = busy_desk()
    desk.do(HOPELESS)
    before = facts(desk)
    unit = [(post(A, B, 1, key="1"), "batch_rejected"), (post(A, B, 2, key="2"), "batch_rejected")]
    unit.append((HOPELESS, "replayed insufficient_funds"))
    answers = desk.do(*(unit[place][0] for place in order))
    assert words(answers) == [unit[place][1] for place in order]
    assert facts(desk) == before


def test_an_overdue_hold_refuses_its_unit() -> None:
    desk = Desk(in_possession_of(100, A, debits_held=10), account(B, credits_held=10), holds=[hold(expires_at=NOW)])
    assert words(desk.do(post(), capture())) == ["batch_rejected", "hold_expired"]
    assert desk.book.touched_accounts == {}


def test_a_single_command_is_refused_by_itself() -> None:
    desk = busy_desk()
    commands: tuple[Command, ...] = (HOPELESS, post(A, B, 1))
    assert [word for command in commands for word in words(desk.do(command))] == [  # type: ignore[arg-type]
        "insufficient_funds",
        "transfer",
    ]
