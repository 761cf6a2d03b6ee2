"""Problems as a client reads them: told apart by their code, with every member of the type that it has."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec import NODEFAULT, inspect, structs

from service.domain.reasons import Reason
from service.domain.rejections import REJECTIONS, InsufficientFunds
from service.wire.catalogue import CATALOGUE, KINDS
from service.wire.problems import PROBLEM_TYPES, AnyProblem, Problem
from service.wire.reasons import EarlierRequest

AT = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)
STANDARD: dict[str, Any] = {
    "type": "/problems/some",
    "title": "Some",
    "status": 422,
    "detail": "Some.",
    "instance": "/v1/ledgers",
    "retryable": False,
    "outcome": "not_applied",
}
SAMPLES: dict[type, Any] = {
    inspect.UUIDType: UUID(int=1),
    inspect.DateTimeType: AT,
    inspect.IntType: 2**63 - 1,
    inspect.FloatType: 0.5,
    inspect.StrType: "ü",
    inspect.StructType: EarlierRequest(operation="post_transfer", outcome="fenced", decided_at=AT, path="/v1"),
}


def sample(problem: type[Problem]) -> Problem:
    """Return a problem with all members that its type requires."""
    required = [field for field in structs.fields(problem) if field.default is NODEFAULT]
    members = {field.name: SAMPLES[type(_bare(field.type))] for field in required if field.name not in STANDARD}
    return problem(**STANDARD, **members)


def _bare(kind: Any) -> inspect.Type:
    info = inspect.type_info(kind)
    return info.type if isinstance(info, inspect.Metadata) else info


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_problem_is_read_as_its_type(code: str) -> None:
    problem = sample(PROBLEM_TYPES[code])
    body = msgspec.json.encode(problem)
    assert msgspec.json.decode(body, type=AnyProblem) == problem
    assert msgspec.json.decode(body)["code"] == code


def test_every_reason_has_a_code_and_a_place_in_the_catalogue() -> None:
    assert len(KINDS) == len(CATALOGUE)
    assert {reason.code for reason in (*REJECTIONS, *_subclasses(Reason))} - {"rejection"} == CATALOGUE.keys()


def _subclasses(kind: type[Reason]) -> list[type[Reason]]:
    return [one for one in kind.__subclasses__() if one.__module__.startswith("service.")]


def test_the_members_of_a_rejection_are_read_as_the_rejection() -> None:
    """So that a client has the numbers by name and type."""
    told = InsufficientFunds.of(UUID(int=1), balance=100, available_balance=30, minimum_balance=0, amount=31)
    problem = PROBLEM_TYPES[told.code](**STANDARD | {"detail": told.detail}, **told.members())
    assert msgspec.json.decode(msgspec.json.encode(problem), type=InsufficientFunds) == told
