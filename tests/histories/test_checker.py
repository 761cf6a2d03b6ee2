"""The checker of histories: it finds every kind of what can be wrong, planted, and accepts what is right."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funds_testing.histories import Kind, check
from tests.histories.plants import PLANTS, Plant, right
from tests.histories.simulated import Simulated, counts, simulate

REQUESTS = 60

WITHOUT_CALLS = {"nobody_asked"}
"""Plants that no call shows."""


def found(made: Simulated) -> list[Kind]:
    return [one.kind for one in check(made.calls, made.standing)]


def test_a_small_history_is_right() -> None:
    made = right()
    assert check(made.calls, made.standing) == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_history_is_found(plant: Plant) -> None:
    """And every finding names calls, as far as any call shows it."""
    made = right()
    plant(made)
    findings = [one for one in check(made.calls, made.standing) if one.kind is PLANTS[plant]]
    assert findings, f"found {found(made)}"
    assert any(one.calls for one in findings) or plant.__name__ in WITHOUT_CALLS
    assert all(str(call.number) in str(one) for one in findings for call in one.calls)


def test_every_kind_is_planted() -> None:
    assert set(PLANTS.values()) == set(Kind)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), requests=st.integers(1, REQUESTS))
def test_random_histories_are_right(seed: int, requests: int) -> None:
    made = simulate(random.Random(seed), requests)
    assert check(made.calls, made.standing) == []


def test_random_histories_have_everything_in_them() -> None:
    seen = {what for seed in range(30) for what in counts(simulate(random.Random(seed), REQUESTS))}
    operations = {what.partition(" ")[0] for what in seen}
    assert len(operations) == 8
    for operation in operations - {"read_account", "read_transfer", "read_key"}:
        for ending in ("applied", "rejected", "unknown", "not_applied"):
            assert f"{operation} {ending}" in seen


@pytest.mark.parametrize("seed", range(10))
def test_a_fact_that_is_taken_away_is_missed(seed: int) -> None:
    """Of a random history, whichever was acknowledged."""
    dice = random.Random(seed)
    made = simulate(dice, REQUESTS)
    told = [call.told["id"] for call in made.calls if call.operation == "post_transfer" and "id" in call.told]
    del made.transfers[dice.choice(told)]
    assert {Kind.LOST, Kind.SUM} <= set(found(made))


@pytest.mark.parametrize("seed", range(10))
def test_calls_that_change_places_are_noticed(seed: int) -> None:
    """Of a history of one request after the other: identifiers no longer rise as they were acknowledged."""
    made = simulate(random.Random(seed), REQUESTS, calm=True)
    facts = [call for call in made.calls if "id" in call.told and call.ending == "applied"]
    made.calls = [call for call in made.calls if call not in facts or call.operation == "void_hold"]
    assert len(facts) > 2
    for one, other in zip(facts, reversed(facts), strict=True):
        times = {"invoked": other.invoked, "completed": other.completed}
        made.calls.append(type(one)(**{name: getattr(one, name) for name in one.__slots__} | times))
    assert Kind.ORDER in found(made)
