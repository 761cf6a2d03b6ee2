"""One log line for one cause in a minute, with the number of its repetitions."""

import logging

from service.telemetry.repeats import REPEAT_SECONDS, RepeatFilter


def _record(message: str = "it failed", **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("service", logging.ERROR, __file__, 1, message, None, None)
    vars(record).update(extra)
    return record


def test_a_cause_is_logged_once_in_a_minute_with_the_number_of_repetitions() -> None:
    now = 0.0
    repeats = RepeatFilter(clock=lambda: now)
    assert repeats.filter(_record(reason="28000"))
    assert not any(repeats.filter(_record(reason="28000")) for _ in range(5))
    now = REPEAT_SECONDS
    again = _record(reason="28000")
    assert repeats.filter(again)
    assert vars(again)["repeated"] == 5


def test_other_causes_are_told() -> None:
    repeats = RepeatFilter(clock=lambda: 0.0)
    assert repeats.filter(_record(reason="28000"))
    assert repeats.filter(_record(reason="42501"))
    assert repeats.filter(_record("another sentence", reason="28000"))


def test_lines_without_a_reason_are_never_held_back() -> None:
    repeats = RepeatFilter(clock=lambda: 0.0)
    assert all(repeats.filter(_record()) for _ in range(3))


def test_what_is_remembered_is_bounded() -> None:
    repeats = RepeatFilter(clock=lambda: 0.0)
    for number in range(3_000):
        assert repeats.filter(_record(reason=f"cause {number}"))
    assert len(repeats._seen) <= 1_000
