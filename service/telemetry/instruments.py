"""Metrics of the three kinds that Prometheus knows, with labels from closed sets, counted in ``cells``."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from service.telemetry.cells import for_ever, of_now, own

Labels = tuple[str, ...]
"""The values of a metric's labels, in the order of their names."""

OTHER = "other"
"""Stands for a value that is not in a label's closed set."""


class Series(Struct, frozen=True):
    """One series of a metric, added up over all processes. Of a histogram, ``buckets`` counts what is in each, and what
    is beyond the last bound; ``value`` is the sum.
    """

    labels: Labels
    value: float
    buckets: Sequence[float] = ()


class Metric:
    """What all kinds have: a name (with its measure in it), what it means, the names of its labels, and their values:
    each combination that there can be. Another one counts as OTHER, which is told once it is needed: what counts must
    not fail.
    """

    def __init__(self, name: str, meaning: str, label_names: Labels = (), labels: Iterable[Labels] = ((),)) -> None:
        self.name = name
        self.meaning = meaning
        self.label_names = label_names
        self._labels = list(dict.fromkeys((*labels, (OTHER,) * len(label_names))))  # that one is the last
        self._places = {one: number for number, one in enumerate(self._labels)}
        METRICS.append(self)

    def series(self) -> Iterator[Series]:
        """Yield what has been counted."""
        raise NotImplementedError

    def place_of(self, labels: Labels) -> int:
        """Return the place of the series with these labels, or of what stands for all others."""
        return self._places.get(labels, len(self._labels) - 1)


METRICS: list[Metric] = []
"""Every metric that was declared, in order."""


class Counter(Metric):
    """Counts what happens."""

    def __init__(self, name: str, meaning: str, label_names: Labels = (), labels: Iterable[Labels] = ((),)) -> None:
        super().__init__(name, meaning, label_names, labels)
        self._first = for_ever.take(len(self._labels))

    def add(self, *labels: str, count: float = 1) -> None:
        """Count ``count`` more."""
        own.cells[self._first + self.place_of(labels)] += count

    def series(self) -> Iterator[Series]:
        """Yield every series; those of which nothing was counted are zero."""
        for place, labels in enumerate(self._labels):
            value = sum(row[self._first + place] for row in own.rows)
            if value or OTHER not in labels:
                yield Series(labels, value)


_OVER: dict[str, Callable[[list[float]], float]] = {"sum": math.fsum, "min": min, "max": max}


class Gauge(Metric):
    """Says what is true now. ``over`` tells what the processes' numbers come to: they add up, or one of them counts."""

    def __init__(
        self,
        name: str,
        meaning: str,
        label_names: Labels = (),
        labels: Iterable[Labels] = ((),),
        *,
        over: Literal["sum", "min", "max"] = "sum",
    ) -> None:
        super().__init__(name, meaning, label_names, labels)
        self._over: Callable[[list[float]], float] = _OVER[over]
        self._first = of_now.take(2 * len(self._labels))  # for each whether it is known, and its value

    def set(self, value: float | None, *labels: str) -> None:
        """Say ``value``; None is for what is not known."""
        cell = self._first + 2 * self.place_of(labels)
        own.cells[cell + 1] = value or 0.0
        own.cells[cell] = value is not None

    def series(self) -> Iterator[Series]:
        """Yield what any process knows."""
        for place, labels in enumerate(self._labels):
            cell = self._first + 2 * place
            known = [row[cell + 1] for row in own.rows if row[cell]]
            if known:
                yield Series(labels, self._over(known))


class Histogram(Metric):
    """Counts values by size. ``bounds`` are the upper ends of the buckets, inclusive and rising."""

    def __init__(
        self,
        name: str,
        meaning: str,
        bounds: Sequence[float],
        label_names: Labels = (),
        labels: Iterable[Labels] = ((),),
        *,
        sparse: bool = False,
    ) -> None:
        super().__init__(name, meaning, label_names, labels)
        self.bounds = tuple(bounds)
        self._sparse = sparse
        self._width = len(self.bounds) + 2
        self._counts = for_ever.take(len(self._labels))
        self._first = for_ever.take(len(self._labels) * self._width)

    def observe(self, value: float, *labels: str) -> None:
        """Count ``value``."""
        self.observe_at(self.place_of(labels), value)

    def observe_at(self, place: int, value: float) -> None:
        """Count ``value`` in the series at ``place``."""
        cells = own.cells
        first = self._first + place * self._width
        cells[first + bisect_left(self.bounds, value)] += 1
        cells[first + self._width - 1] += value
        cells[self._counts + place] += 1

    def series(self) -> Iterator[Series]:
        """Yield every series; of a ``sparse`` metric, whose labels have many combinations, those that were observed."""
        for place, labels in enumerate(self._labels):
            if (self._sparse or OTHER in labels) and not any(row[self._counts + place] for row in own.rows):
                continue
            first = self._first + place * self._width
            buckets = [sum(row[first + number] for row in own.rows) for number in range(self._width - 1)]
            yield Series(labels, sum(row[first + self._width - 1] for row in own.rows), buckets)
