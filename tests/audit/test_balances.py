"""The times of balances: what is now, what is known, and what a replica does not hold yet."""

from datetime import timedelta

from service.audit.balances import Times
from service.storage.repositories.heads import Head
from tests.support.domain_samples import INSTANT, NOW

LAST = NOW - timedelta(hours=1)
HEAD = Head(last_at=LAST, clock=NOW, closed_until=None, late_entries=None)


def test_without_times_everything_recorded_counts_and_what_is_dated_by_now() -> None:
    assert Times.of(HEAD, as_of=None, known_at=None) == Times(NOW, LAST, is_ahead=False, is_reached=True)


def test_nothing_is_known_behind_the_head() -> None:
    """Where the clock is already, and something may still be recorded."""
    for known_at in (LAST + INSTANT, NOW):
        times = Times.of(HEAD, as_of=None, known_at=known_at)
        assert times == Times(NOW, LAST, is_ahead=False, is_reached=False), "a replica might lag behind"
    assert Times.of(HEAD, as_of=None, known_at=LAST) == Times(NOW, LAST, is_ahead=False, is_reached=True)
    earlier = LAST - INSTANT
    assert Times.of(HEAD, as_of=earlier, known_at=earlier) == Times(earlier, earlier, is_ahead=False, is_reached=True)


def test_what_lies_ahead_of_clock_and_head_is_not_known() -> None:
    assert Times.of(HEAD, as_of=None, known_at=NOW + INSTANT).is_ahead
    assert not Times.of(HEAD, as_of=NOW + timedelta(days=1), known_at=NOW).is_ahead


def test_where_the_head_is_ahead_of_the_clock_now_is_the_head() -> None:
    ahead = HEAD._replace(last_at=NOW + timedelta(seconds=3))
    assert Times.of(ahead, as_of=None, known_at=None).as_of == ahead.last_at
    assert not Times.of(ahead, as_of=None, known_at=ahead.last_at).is_ahead
    assert Times.of(ahead, as_of=None, known_at=ahead.last_at + INSTANT).is_ahead
