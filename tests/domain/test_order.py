"""The documented order of the rules is the order in which they answer: every rule is broken, alone and with others."""

import re
from datetime import timedelta
from itertools import combinations

import pytest
from msgspec import structs

from service.domain.rejections import REJECTIONS, BatchRejected, InternalError, Rejection
from service.domain.rules import COMMAND_RULES, RULES, TRANSFER_RULES
from tests.domain.batches import Batch, words
from tests.domain.scenes import OPERATIONS, Scene, rejection
from tests.support.domain_samples import NOW, POLICY, A, B, account, fence, in_possession_of, post
from tests.support.rejections import told

STEPS = [(name, place) for name, operation in OPERATIONS.items() for place in range(len(operation.order))]
IDS = [f"{name}-{OPERATIONS[name].order[place]}" for name, place in STEPS]


def test_the_documented_order() -> None:
    transfer = [
        "same_account",
        "account_not_found",
        "account_closed",
        "account_frozen",
        "currency_mismatch",
        "time_out_of_range",
        "period_closed",
        "balance_overflow",
        "insufficient_funds",
        "balance_limit_exceeded",
    ]
    assert OPERATIONS["transfer"].order == transfer
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
def test_when_no_rule_is_broken_nothing_is_rejected(name: str) -> None:
    assert not isinstance(OPERATIONS[name].decide_scene(Scene()), Rejection)


@pytest.mark.parametrize(("name", "place"), STEPS, ids=IDS)
def test_a_broken_rule_rejects(name: str, place: int) -> None:
    operation = OPERATIONS[name]
    assert rejection(operation, [operation.order[place]]) == operation.order[place]


@pytest.mark.parametrize(("name", "place"), STEPS, ids=IDS)
def test_a_rejection_says_why_in_a_sentence_and_keeps_one_that_it_has(name: str, place: int) -> None:
    operation, scene = OPERATIONS[name], Scene()
    operation.breaks[operation.order[place]](scene)
    rejected = operation.decide_scene(scene)
    assert re.fullmatch(r"[A-Za-z`][^{}]+\.", rejected.detail)
    assert "None" not in rejected.detail
    assert structs.replace(rejected, detail="As it was.").detail == "As it was."


@pytest.mark.parametrize(("name", "place"), STEPS, ids=IDS)
def test_a_rule_answers_before_all_later_ones(name: str, place: int) -> None:
    operation = OPERATIONS[name]
    assert rejection(operation, operation.order[place:]) == operation.order[place]


@pytest.mark.parametrize("name", OPERATIONS)
def test_of_any_two_broken_rules_the_earlier_answers(name: str) -> None:
    operation = OPERATIONS[name]
    answers = {
        (first, second): rejection(operation, [first, second]) for first, second in combinations(operation.order, 2)
    }
    assert {pair: answer for pair, answer in answers.items() if answer != pair[0]} == {}


@pytest.mark.parametrize("status", ["frozen", "closed"])
@pytest.mark.parametrize(
    "name", [name for name, operation in OPERATIONS.items() if "account_frozen" in operation.order]
)
def test_the_debit_account_is_checked_before_the_credit_account(name: str, status: str) -> None:
    scene = Scene(debit=in_possession_of(100, A, status=status), credit=account(B, status=status))
    rejected = OPERATIONS[name].decide_scene(scene)
    assert isinstance(rejected, Rejection)
    assert (rejected.code, told(rejected)["account_id"]) == (f"account_{status}", str(A))


def test_every_rejection_is_of_some_operation() -> None:
    """Two rejections belong to no operation: that of the other commands of a group, and that of a fault of ours."""
    assert {rule for rules in RULES.values() for rule in rules} == {*REJECTIONS} - {BatchRejected, InternalError}


def test_the_key_is_checked_first_and_the_clock_next() -> None:
    """One request breaks every rule, and the test repairs what each rejection names, one after the other."""
    ahead = NOW + POLICY.clock_ahead_max + timedelta(seconds=1)
    later = [account(A), account(B)]
    same = post(A, A, key="key")
    used = Batch(*later)
    used.execute(post(A, B, key="key"))
    fenced = Batch()
    fenced.execute(fence("key"))

    answers = [
        Batch(*later, last_at=ahead, decisions=fenced.batch_state.new_decisions).execute(same),
        Batch(*later, last_at=ahead, decisions=used.batch_state.new_decisions).execute(same),
        Batch(*later, last_at=ahead).execute(same),
        Batch(*later).execute(same),
    ]

    assert [words(answer) for answer in answers] == [[rule.code] for rule in (*COMMAND_RULES, TRANSFER_RULES[0])]
