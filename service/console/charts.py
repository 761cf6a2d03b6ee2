"""Charts: where their bars, lines and scales lie. Templates draw them, as SVG without a style of its own."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from service.console.formats import day, rough

_WIDTH, _HEIGHT = 400.0, 170.0
_WIDE = 900.0
_LEFT, _TOP, _BOTTOM = 36.0, 8.0, 20.0
_BARS_MAX = 32
_GAP = 0.25
_TEXTS_MAX = 5
_STEPS = (1, 2, 2.5, 5, 10)

BUCKETS = tuple(
    timedelta(seconds=seconds)
    for seconds in (1, 10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400)
)
"""How long what one bar stands for can be."""


class Line(Struct, frozen=True):
    """A line of the scale."""

    y: float
    text: str
    zero: bool = False


class Bar(Struct, frozen=True):
    """A bar; ``title`` says what it stands for, ``text`` stands below it where there is room."""

    x: float
    y: float
    width: float
    height: float
    title: str
    text: str


class Bars(Struct, frozen=True):
    """A chart of bars."""

    lines: list[Line]
    bars: list[Bar]
    left: float = _LEFT
    width: float = _WIDTH
    height: float = _HEIGHT


class Mark(Struct, frozen=True):
    """A text below a chart."""

    x: float
    text: str
    anchor: str


class Steps(Struct, frozen=True):
    """A chart of a line that moves in steps, and the area below it."""

    lines: list[Line]
    path: str
    area: str
    marks: list[Mark]
    left: float = _LEFT
    width: float = _WIDE
    height: float = _HEIGHT


def bucket_of(first: datetime, last: datetime) -> timedelta:
    """Return the shortest of BUCKETS by which few enough bars reach from ``first`` to ``last``."""
    return next((one for one in BUCKETS if (last - first) / one < _BARS_MAX - 1), BUCKETS[-1])


def begin_of(time: datetime, bucket: timedelta) -> datetime:
    """Return when the bucket begins that ``time`` is in."""
    epoch = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday
    return epoch + (time - epoch) // bucket * bucket


def bars(values: Sequence[tuple[datetime, float]], bucket: timedelta, titles: Sequence[str]) -> Bars:
    """Return the bars of ``values``, one for each bucket that begins at a time, with their ``titles``."""
    lines, y_of = _scale(0.0, max((value for _, value in values), default=0.0))
    step = (_WIDTH - _LEFT) / max(len(values), 1)
    every = -(-len(values) // _TEXTS_MAX)
    return Bars(
        lines,
        [
            Bar(
                x=round(_LEFT + (index + _GAP / 2) * step, 2),
                y=y_of(value),
                width=round(step * (1 - _GAP), 2),
                height=round(y_of(0.0) - y_of(value), 2),
                title=title,
                text=_time_text(begin, bucket) if index % every == 0 else "",
            )
            for index, ((begin, value), title) in enumerate(zip(values, titles, strict=True))
        ],
    )


def steps(points: Sequence[tuple[datetime, float]], start: datetime, end: datetime, first: float) -> Steps:
    """Return the line that begins at ``first`` and goes to each value at its time, between ``start`` and ``end``."""
    values = [first, *(value for _, value in points)]
    lines, y_of = _scale(min(0.0, *values), max(0.0, *values))
    seconds = max((end - start).total_seconds(), 1.0)

    def x_of(time: datetime) -> float:
        share = (time - start).total_seconds() / seconds
        return round(_LEFT + (_WIDE - _LEFT) * min(max(share, 0.0), 1.0), 2)

    moves = "".join(f"H{x_of(time)}V{y_of(value)}" for time, value in points)
    path = f"M{_LEFT} {y_of(first)}{moves}H{_WIDE}"
    marks = [Mark(_LEFT, day(start), "start"), Mark(_WIDE, day(end), "end")]
    return Steps(lines, path, f"{path}V{y_of(0.0)}H{_LEFT}Z", marks)


def _scale(low: float, high: float) -> tuple[list[Line], "_Scale"]:
    """Return the lines of a scale from ``low`` to ``high``, at round numbers, and where a value lies on it."""
    step = _round_step((high - low) / 4)
    bottom, top = low // step * step, -(-high // step) * step
    scale = _Scale(bottom, max(top, bottom + step))
    count = round((scale.top - bottom) / step)
    values = [bottom + step * index for index in range(count + 1)]
    return [Line(scale(value), rough(value), value == 0) for value in values], scale


class _Scale:
    """Where a value lies in a chart, from the top."""

    def __init__(self, bottom: float, top: float) -> None:
        self.bottom, self.top = bottom, top

    def __call__(self, value: float) -> float:
        share = (value - self.bottom) / (self.top - self.bottom)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP), 2)


def _round_step(wanted: float) -> float:
    """Return the least round number that is not less than ``wanted``, and at least 1."""
    power = 1.0
    while power * 10 < wanted:
        power *= 10
    return max(1.0, next(power * one for one in _STEPS if power * one >= wanted))


def _time_text(time: datetime, bucket: timedelta) -> str:
    if bucket < timedelta(minutes=1):
        return f"{time:%H:%M:%S}"
    return f"{time:%H:%M}" if bucket < timedelta(hours=6) else day(time).rpartition(" ")[0]
