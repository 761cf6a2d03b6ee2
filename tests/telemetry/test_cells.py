"""Rows of numbers: each process writes its own and sees all; who replaces another one goes on where that ended."""

import multiprocessing
from collections.abc import Iterator

import pytest

from service.telemetry import cells, metrics
from service.telemetry.cells import Rows, adopt, clear_gauges
from service.telemetry.instruments import Counter, Gauge, Histogram, Metric, Series

OTHERS = metrics.COMMANDS  # its metrics have their cells before those of this module, in every process
happened = Counter("test_happened_total", "Happened.", ("kind",), [("a",), ("b",)])
highest = Gauge("test_highest", "Highest.", over="max")
lowest = Gauge("test_lowest", "Lowest.", over="min")
total = Gauge("test_total", "Total.")
sizes = Histogram("test_sizes", "Sizes.", (1, 10), ("kind",), [("a",), ("b",)])
sparse = Histogram("test_sparse", "Sizes.", (1, 10), ("kind",), [("a",), ("b",)], sparse=True)


@pytest.fixture
def rows() -> Iterator[Rows]:
    own, all_of_them = cells.own.cells, cells.own.rows
    yield Rows.make(2)
    cells.own.cells, cells.own.rows = own, all_of_them


def values(metric: Metric) -> dict[tuple[str, ...], float]:
    return {series.labels: series.value for series in metric.series()}


def count(rows: Rows, number: int, value: float) -> None:
    """Be another process for a while."""
    adopt(rows, number)
    happened.add("a")
    happened.add("never heard of", count=2)
    sizes.observe(value, "a")
    for gauge in (highest, lowest, total):
        gauge.set(value)


@pytest.mark.parametrize("reader", [0, 1])
def test_whoever_is_asked_adds_up(rows: Rows, reader: int) -> None:
    for number, value in enumerate((4.0, 40.0)):
        process = multiprocessing.get_context("spawn").Process(target=count, args=(rows, number, value))
        process.start()
        process.join()
        assert process.exitcode == 0
    cells.own.rows, cells.own.cells = rows.cells, rows.cells[reader]
    assert values(happened) == {("a",): 2, ("b",): 0, ("other",): 4}
    assert [values(gauge) for gauge in (highest, lowest, total)] == [{(): 40}, {(): 4}, {(): 44}]
    assert list(sizes.series()) == [Series(("a",), 44, [0, 1, 1]), Series(("b",), 0, [0, 0, 0])]
    assert list(sparse.series()) == []


def test_what_is_counted_outlives_a_process_and_what_was_true_of_it_does_not(rows: Rows) -> None:
    for number in (0, 1):
        count(rows, number, 7)
    clear_gauges(rows, 0)
    assert [values(gauge) for gauge in (highest, total)] == [{(): 7}, {(): 7}]
    assert values(happened)["a",] == 2
    clear_gauges(rows, 1)
    assert [values(gauge) for gauge in (highest, lowest, total)] == [{}, {}, {}]
    count(rows, 0, 5)
    assert (values(happened)["a",], values(total)) == (3, {(): 5})


def test_bounds_are_inclusive(rows: Rows) -> None:
    adopt(rows, 0)
    for value in (0.5, 1, 1.5, 10, 11):
        sparse.observe(value, "b")
    assert list(sparse.series()) == [Series(("b",), 24, [2, 2, 1])]


def test_what_is_not_known_is_not_told(rows: Rows) -> None:
    adopt(rows, 0)
    total.set(1)
    total.set(None)
    assert values(total) == {}
    assert values(happened) == {("a",): 0, ("b",): 0}, "nothing else happened"
