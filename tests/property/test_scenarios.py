"""The service against the model: to any requests in any order, both answer alike, and both store alike."""

from collections.abc import Iterator

import pytest
from hypothesis import given

from tests.property.bank import Bank, BankLedger
from tests.property.drawing import drawn
from tests.property.facts import Answer
from tests.property.model import Model
from tests.property.scenarios import Revise, Scenario, Send, Step, Sweep, TimeIsOver, scenarios

EVERYWHERE = {
    "same_account",
    "time_out_of_range",
    "account_not_found",
    "account_closed",
    "account_frozen",
    "currency_mismatch",
    "balance_overflow",
    "insufficient_funds",
    "balance_limit_exceeded",
    "hold_not_found",
    "hold_expired",
    "hold_not_open",
    "capture_exceeds_hold",
    "transfer_not_found",
    "reversal_not_reversible",
    "already_reversed",
    "reversal_exceeds_transfer",
    "idempotency_key_reused",
    "key_fenced",
    "batch_rejected",
    "account_not_empty",
}
OF_A_KIND = {
    "Post": {"transfer", "insufficient_funds", "balance_limit_exceeded", "batch_rejected", "replayed"},
    "Open": {"hold", "insufficient_funds", "batch_rejected", "replayed"},
    "Capture": {"transfer", "hold_expired", "hold_not_open", "capture_exceeds_hold"},
    "Void": {"hold", "hold_expired", "hold_not_open"},
    "Reverse": {"transfer", "already_reversed", "reversal_exceeds_transfer", "insufficient_funds"},
    "Fence": {"fenced", "replayed"},
    "Sweep": {"expired"},
    "Revise": {"revised", "account_not_empty", "insufficient_funds"},
}


@drawn()
@given(scenario=scenarios())
async def test_service_and_model_answer_alike(bank: Bank, scenario: Scenario, caplog: pytest.LogCaptureFixture) -> None:
    model, ledger = Model(scenario.accounts), await bank.open_ledger(scenario.accounts)
    for step in scenario.steps:
        await play(step, model, ledger)
    assert await ledger.state() == model.facts.state()
    assert await ledger.broken_rules() == {}
    assert [record.message for record in caplog.records] == [], "the database never refuses what the rules allowed"


def test_the_scenarios_break_every_rule() -> None:
    """A rule that no scenario breaks is not tested. When this fails, draw more of them, or more of the missing kind."""
    met: set[tuple[str, str]] = set()

    @drawn()
    @given(scenario=scenarios())
    def play_alone(scenario: Scenario) -> None:
        met.update(met_in(scenario))

    play_alone()
    codes = {said for _, said in met}
    assert EVERYWHERE - codes == set()
    assert {(kind, said) for kind, every in OF_A_KIND.items() for said in every} - met == set()


def met_in(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Yield what is said to whom when the model plays alone."""
    model = Model(scenario.accounts)
    for step in scenario.steps:
        match step:
            case Send(groups, _):
                for group, answers in zip(groups, model.send(groups), strict=True):
                    for request, answer in zip(group, answers, strict=True):
                        yield type(request).__name__, answer["said"]
                        if answer["replayed"]:
                            yield type(request).__name__, "replayed"
            case TimeIsOver(hold):
                model.time_is_over(hold)
            case Sweep():
                open_before = model.facts.open_holds()
                model.sweep()
                if open_before != model.facts.open_holds():
                    yield "Sweep", "expired"
            case Revise(name, changes):
                yield "Revise", model.revise(name, changes)


async def play(step: Step, model: Model, ledger: BankLedger) -> None:
    """Have both do ``step``, and compare."""
    match step:
        case Send(groups, dry_run_first):
            foretold = await ledger.dry_run(groups) if dry_run_first else None
            answers, expected = await ledger.send(groups), model.send(groups)
            assert as_far_as_promised(answers, expected) == expected
            assert foretold is None or as_far_as_promised(foretold, expected) == expected
        case TimeIsOver(hold):
            model.time_is_over(hold)
            await ledger.time_is_over(hold)
        case Sweep():
            model.sweep()
            await ledger.sweep()
        case Revise(name, changes):
            assert await ledger.revise(name, changes) == model.revise(name, changes)


def as_far_as_promised(answers: list[list[Answer]], expected: list[list[Answer]]) -> list[list[Answer]]:
    """Return the answers without the members that the model has no word for."""
    return [
        [
            {name: value for name, value in answer.items() if name in promised}
            for answer, promised in zip(group, promises, strict=True)
        ]
        for group, promises in zip(answers, expected, strict=True)
    ]
