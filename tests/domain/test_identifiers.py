"""Identifiers: UUIDv7 as RFC 9562 lays it out, rising with time and with the place in a batch."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.identifiers import ENTROPY_BITS, POSITIONS, Identifiers, first_identifier, identifier, time_of
from service.domain.limits import TRANSACTION_COMMANDS_MAX
from tests.support.domain_samples import INSTANT, NOW

ENTROPY_MAX = (1 << ENTROPY_BITS) - 1
MOMENTS = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]

steady = settings(derandomize=True, database=None, deadline=None, max_examples=300)
moments = st.integers(0, (MOMENTS[-1] - MOMENTS[0]) // INSTANT - 1).map(lambda number: MOMENTS[0] + number * INSTANT)
positions = st.integers(0, POSITIONS - 1)
entropies = st.integers(0, ENTROPY_MAX)


@pytest.mark.parametrize("at", MOMENTS)
@pytest.mark.parametrize(("position", "entropy"), [(0, 0), (POSITIONS - 1, ENTROPY_MAX), (1, 7)])
def test_the_fields_stand_where_the_standard_wants_them(at: datetime, position: int, entropy: int) -> None:
    made = identifier(at, position, entropy)
    milliseconds, microseconds = divmod((at - MOMENTS[0]) // INSTANT, 1000)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == milliseconds
    assert made.int >> 64 & 0xFFF == microseconds * 4096 // 1000
    assert made.int >> 46 & 0xFFFF == position
    assert made.int & ENTROPY_MAX == entropy


def test_the_example_of_the_standard_has_this_time() -> None:
    """RFC 9562, appendix A.6: 22 February 2022, 14:22:22 in New York."""
    at = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    example = UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
    assert identifier(at, 0, 0).int >> 80 == example.int >> 80
    assert identifier(at, 0, 0).variant == example.variant


@steady
@given(moments, moments, positions, positions, entropies, entropies)
def test_identifiers_sort_by_time_then_by_position(
    one: datetime, other: datetime, p: int, q: int, entropy: int, other_entropy: int
) -> None:
    lesser, greater = sorted([(one, p), (other, q)])
    if lesser < greater:
        assert identifier(*lesser, entropy) < identifier(*greater, other_entropy)


@steady
@given(moments, entropies)
def test_the_next_microsecond_sorts_behind_a_full_batch(at: datetime, entropy: int) -> None:
    assert identifier(at, POSITIONS - 1, entropy) < identifier(at + INSTANT, 0, 0)


@steady
@given(moments, positions, entropies)
def test_a_bound_on_time_is_a_bound_on_identifiers(at: datetime, position: int, entropy: int) -> None:
    assert first_identifier(at) <= identifier(at, position, entropy) < first_identifier(at + INSTANT)


def test_a_bound_before_the_epoch_bounds_nothing() -> None:
    assert first_identifier(MOMENTS[0] - timedelta(days=1)) == first_identifier(MOMENTS[0])


def test_a_batch_of_the_largest_size_stands_at_one_place() -> None:
    """A command takes three identifiers at most: of what it makes, of the end of a hold or of its rejection, and its
    group's.
    """
    assert TRANSACTION_COMMANDS_MAX * 3 <= POSITIONS


def test_when_the_positions_of_a_place_are_used_up_the_next_place_goes_on() -> None:
    new_ids = Identifiers(NOW, lambda: 7)
    made = [next(new_ids) for _ in range(POSITIONS)]
    assert new_ids.place == NOW
    assert (made[0], made[-1]) == (identifier(NOW, 0, 7), identifier(NOW, POSITIONS - 1, 7))
    made += [next(new_ids) for _ in range(POSITIONS + 1)]
    assert new_ids.place == NOW + 2 * INSTANT
    assert made[-1] == identifier(NOW + 2 * INSTANT, 0, 7)
    assert made == sorted(made)


def test_two_facts_of_a_batch_differ_whatever_chance_says() -> None:
    assert identifier(NOW, 0, 5) != identifier(NOW, 1, 5)


@steady
@given(moments, positions, entropies)
def test_a_time_is_that_of_its_identifiers(at: datetime, position: int, entropy: int) -> None:
    assert time_of(first_identifier(at)) == time_of(identifier(at, position, entropy)) == at
