"""The exceptions of the client: one for each code, with its numbers; and one for those that it does not know."""

import pickle
import re
from typing import Any

import msgspec
import pytest

from funds_client import BlockingFundsClient, FundsClient, errors
from funds_client.answers import DECIDED, problem_error
from funds_client.domain.rejections import REJECTIONS
from funds_client.errors import (
    PROBLEM_ERRORS,
    FundsError,
    InsufficientFundsError,
    OtherProblemError,
    OutcomeUnknownError,
    RefusedError,
    RejectedError,
)
from funds_client.exchange import Answer
from funds_client.intents import Intent
from funds_client.outcomes import read_outcome
from funds_client.wire.catalogue import CATALOGUE
from tests.client.imagined import INSUFFICIENT, problem, rent


def test_every_code_has_a_class_of_its_name() -> None:
    assert PROBLEM_ERRORS.keys() == CATALOGUE.keys()
    for code, kind in PROBLEM_ERRORS.items():
        camel = code.title().replace("_", "")
        assert kind.__name__ in {camel, f"{camel}Error"}


def test_what_the_rules_decide_is_rejected_and_all_else_refused() -> None:
    rejections = {rejection.code for rejection in REJECTIONS} - {"internal_error"}
    assert {code for code, kind in PROBLEM_ERRORS.items() if issubclass(kind, RejectedError)} == rejections
    assert {code for code, kind in PROBLEM_ERRORS.items() if issubclass(kind, RefusedError)} == (
        PROBLEM_ERRORS.keys() - rejections
    )
    assert {"insufficient_funds", "key_fenced", "idempotency_key_reused"} <= DECIDED
    assert not {"clock_behind", "debit_not_allowed", "internal_error", "overloaded"} & DECIDED


def test_the_drawing_is_the_tree() -> None:
    drawn = re.findall(r"(?m)^    (?:([│ ├└─]*) )?([A-Z]\w+Error)  ", errors.__doc__ or "")
    assert [(len(branch) // 4 + bool(branch), name) for branch, name in drawn] == list(_walk(FundsError, 0))


def _walk(kind: type[FundsError], depth: int) -> Any:
    yield depth, kind.__name__
    for child in kind.__subclasses__():
        if child not in PROBLEM_ERRORS.values():
            yield from _walk(child, depth + 1)


def test_an_unknown_code_has_a_type() -> None:
    error = problem_error(problem("moon_in_the_wrong_phase", 422, phase="full").body)
    assert isinstance(error, OtherProblemError)
    assert (error.code, error.reason.members, error.problem.status) == (
        "moon_in_the_wrong_phase", {"phase": "full"}, 422,
    )  # fmt: skip


def test_what_became_of_a_key_may_have_an_unknown_code() -> None:
    told = problem("moon_in_the_wrong_phase", 422)
    body = msgspec.json.encode({"idempotency_key": "k", "outcome": "rejected", "problem": msgspec.Raw(told.body)})
    assert isinstance(read_outcome(Answer(status=200, body=body)).error, OtherProblemError)


def test_a_known_code_with_other_numbers_is_unknown() -> None:
    assert isinstance(problem_error(problem("insufficient_funds", 422, shortfall="a lot").body), OtherProblemError)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"<html>", b'{"code": 1}', b"\xff"])
def test_what_is_no_problem_is_none(body: bytes) -> None:
    assert problem_error(body) is None


def test_exceptions_travel_between_processes() -> None:
    error = problem_error(INSUFFICIENT.body)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, InsufficientFundsError)
    assert (again.reason, again.problem) == (error.reason, error.problem)  # type: ignore[union-attr]
    unknown = pickle.loads(pickle.dumps(OutcomeUnknownError(rent())))
    assert unknown.intent == rent()


def test_an_intent_is_read_as_it_was_written() -> None:
    assert Intent.from_bytes(rent().to_bytes()) == rent()
    for other in (b"", b"{}", b'{"operation": "post_transfer"}', b'{"operation": "fly"}'):
        with pytest.raises(errors.IntentError):
            Intent.from_bytes(other)


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(FundsClient) == public(BlockingFundsClient)
