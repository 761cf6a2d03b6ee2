"""The documented order of the rules is the order in which they answer: docstrings are read, rules are broken."""

from itertools import combinations

import pytest

from service.domain.rejections import Rejection
from tests.domain.orders import documented_order
from tests.domain.scenes import OPERATIONS, Scene, refusal

RULES = [(name, place) for name, operation in OPERATIONS.items() for place in range(len(operation.order))]
IDS = [f"{name}-{OPERATIONS[name].order[place]}" for name, place in RULES]


def test_the_documented_order_is_found_where_it_is_documented() -> None:
    transfer = [
        "same_account",
        "account_not_found",
        "account_closed",
        "account_frozen",
        "currency_mismatch",
        "time_out_of_range",
        "balance_overflow",
        "insufficient_funds",
        "balance_limit_exceeded",
    ]
    assert documented_order(OPERATIONS["transfer"].rules) == transfer
    assert OPERATIONS["reversal"].order == [
        "transfer_not_found",
        "reversal_not_reversible",
        "already_reversed",
        "reversal_exceeds_transfer",
        *(code for code in transfer[transfer.index("account_closed") :] if code != "currency_mismatch"),
    ]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_documented_rule_can_be_broken_and_no_other(name: str) -> None:
    assert set(OPERATIONS[name].order) == OPERATIONS[name].breaks.keys()


@pytest.mark.parametrize("name", OPERATIONS)
def test_when_no_rule_is_broken_nothing_is_refused(name: str) -> None:
    assert not isinstance(OPERATIONS[name].ask(Scene()), Rejection)


@pytest.mark.parametrize(("name", "place"), RULES, ids=IDS)
def test_a_rule_that_is_broken_refuses(name: str, place: int) -> None:
    operation = OPERATIONS[name]
    assert refusal(operation, [operation.order[place]]) == operation.order[place]


@pytest.mark.parametrize(("name", "place"), RULES, ids=IDS)
def test_a_rule_answers_before_all_later_ones(name: str, place: int) -> None:
    operation = OPERATIONS[name]
    assert refusal(operation, operation.order[place:]) == operation.order[place]


@pytest.mark.parametrize("name", OPERATIONS)
def test_of_any_two_broken_rules_the_earlier_answers(name: str) -> None:
    operation = OPERATIONS[name]
    answers = {
        (first, second): refusal(operation, [first, second]) for first, second in combinations(operation.order, 2)
    }
    assert {pair: answer for pair, answer in answers.items() if answer != pair[0]} == {}
