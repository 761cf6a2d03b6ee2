"""Rejections as stored on 2026-11-26: they are read as the same types, and written in the same form."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.domain.rejections import REJECTIONS, Rejection
from service.domain.rules import NOT_REMEMBERED
from service.storage.stored_rejections import read_rejection, stored_rejection

STORED = [
    msgspec.json.decode(line) for line in (Path(__file__).parent / "stored_problems.jsonl").read_bytes().splitlines()
]
each = pytest.mark.parametrize("problem", STORED, ids=lambda problem: problem["code"])


def test_there_is_one_of_every_code() -> None:
    assert {problem["code"] for problem in STORED} == {kind.code for kind in REJECTIONS if kind not in NOT_REMEMBERED}


@each
def test_it_is_read_as_its_type(problem: dict[str, Any]) -> None:
    rejection = read_rejection(problem)
    assert isinstance(rejection, Rejection)
    assert (rejection.code, rejection.detail) == (problem["code"], problem["detail"])
    assert msgspec.to_builtins(rejection.members()) == problem["members"]


@each
def test_it_would_be_written_the_same(problem: dict[str, Any]) -> None:
    assert msgspec.json.encode(stored_rejection(read_rejection(problem))) == msgspec.json.encode(problem)


@each
def test_decided_anew_it_says_the_same(problem: dict[str, Any]) -> None:
    rejection = read_rejection(problem)
    assert type(rejection)(**rejection.members()) == rejection


@each
def test_a_replay_says_what_was_stored(problem: dict[str, Any]) -> None:
    said_then = problem | {"detail": "What an earlier version said."}
    assert read_rejection(said_then).detail == said_then["detail"]
    assert msgspec.to_builtins(stored_rejection(read_rejection(said_then))) == said_then


def test_a_rejection_from_before_there_were_holds() -> None:
    """Then insufficient_funds had neither ``balance`` nor ``held``."""
    members = {
        "account_id": "01935b8a-0000-7000-8000-00000000000a",
        "available_balance": 30,
        "minimum_balance": -5,
        "amount": 50,
        "shortfall": 15,
    }
    stored = {"code": "insufficient_funds", "detail": "Account … has 30 available.", "members": members}
    rejection = read_rejection(stored)
    assert msgspec.to_builtins(rejection.members()) == members | {"balance": 30, "held": 0}
    assert (rejection.detail, rejection.short_of_room()) == (stored["detail"], None)
