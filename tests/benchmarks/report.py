"""The results as text: Markdown tables that are read in a terminal as well as on a page."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.benchmarks.floors import Floor
from tests.benchmarks.results import CEILINGS, Leg, Results, middle

_BEGIN, _END = "<!-- results -->", "<!-- end of results -->"

_COLUMNS: tuple[tuple[str, Callable[[Leg], float | None], str], ...] = (
    ("per second", lambda leg: leg.per_second, ",.0f"),
    ("p50 ms", lambda leg: leg.p50_ms, ".2f"),
    ("p99 ms", lambda leg: leg.p99_ms, ".2f"),
    ("server CPU", lambda leg: leg.server_cpu, ".3f"),
    ("PostgreSQL CPU", lambda leg: leg.postgres_cpu, ".3f"),
    ("client CPU", lambda leg: leg.client_cpu, ".3f"),
    ("worker MB", lambda leg: leg.worker_memory_peak_mb, ".0f"),
)


def page(results: Results, floors: Sequence[Floor]) -> str:
    """Return the floors, the legs and the circumstances."""
    machine = ", ".join(results.machine.values())
    settings = ", ".join(f"{name} {value}" for name, value in results.postgres.items())
    rounds = max(leg.round for leg in results.legs)
    circumstances = (
        f"Mode {results.mode}, {results.started_at:%Y-%m-%d %H:%M} UTC, {results.minutes:.0f} minutes, medians of"
        f" {rounds}. {machine}. PostgreSQL: {settings}."
    )
    return "\n\n".join(
        [
            circumstances,
            _disturbances(results),
            _table(("leg", "measured", "floor", "aim", ""), map(_floor_row, floors)),
            "CPU in seconds per 1,000 operations; worker MB is the highest resident memory of a worker so far.",
            _table(("leg", "load", "at", *(name for name, _, _ in _COLUMNS)), _leg_rows(results.legs)),
        ]
    )


def _disturbances(results: Results) -> str:
    """Say what other work and the load generator took from the machine."""
    others = sorted(leg.other_cores for leg in results.legs)
    shares = [
        (leg.client_cpu * leg.per_second / 1000, leg.family)
        for leg in results.legs
        if leg.client_cpu is not None and leg.server_cpu is not None and leg.family not in CEILINGS
    ]
    share, family = max(shares)
    [ceiling] = results.of("bare ASGI")
    return (
        f"Other work on the machine used {others[len(others) // 2]:.2f} cores in the median of the legs and"
        f" {others[-1]:.2f} at most. The load generator used at most {share:.0%} of a core ({family}); against bare"
        f" ASGI it reaches {ceiling.per_second:,.0f} requests a second."
    )


def publish(text: str, plots: Sequence[Path], readme: Path) -> None:
    """Put ``text`` and ``plots``, which lie beside it, between the markers in ``readme``."""
    pictures = "\n\n".join(f"![{plot.stem.replace('_', ', ')}]({plot.name})" for plot in plots)
    before, _, rest = readme.read_text().partition(_BEGIN)
    _, found, after = rest.partition(_END)
    assert found, f"{readme} has no markers"
    readme.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{pictures}\n\n{_END}{after}")


def _floor_row(floor: Floor) -> tuple[str, ...]:
    sign = "<=" if floor.less_is_better else ">="
    return (
        floor.name,
        "" if floor.measured is None else f"{floor.measured:.2f} {floor.unit}",
        f"{sign} {floor.floor:g}",
        "" if floor.aim is None else f"{sign} {floor.aim:g}",
        floor.verdict,
    )


def _leg_rows(legs: Iterable[Leg]) -> Iterable[tuple[str, ...]]:
    """Yield a row a leg, its rounds as one."""
    alike: dict[tuple[str, ...], list[Leg]] = {}
    for leg in legs:
        name = leg.family if leg.items == 1 else f"{leg.family} of {leg.items:,}"
        if leg.phase == "growth":
            name += f", {leg.stored:,} stored"
        elif leg.phase == "workers":
            name += f", with {leg.workers} worker(s)" + (f" on {leg.ledgers} ledgers" if leg.ledgers > 1 else "")
        alike.setdefault((name, leg.workload or "", str(leg.connections)), []).append(leg)
    for labels, rounds in alike.items():
        values = ((middle(rounds, value), form) for _, value, form in _COLUMNS)
        yield *labels, *("" if number is None else format(number, form) for number, form in values)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (head, rule, *lines[1:])
    )
