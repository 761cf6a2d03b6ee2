"""Throughput over concurrency as SVG, drawn without a library."""

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.results import Family, Results, middle
from tests.benchmarks.traffic import Workload

WIDTH, HEIGHT = 640, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 105, 50
CONNECTIONS = (1, 4, 16, 64, 256)

# Series, how it is named in the legend, and its colour: told apart by the colour-blind as well (Okabe and Ito).
_SERIES: tuple[tuple[Family, str, str], ...] = (
    ("single", "this service, one POST per transfer", "#0072b2"),
    ("SQL by hand", "SQL by hand (pgbench)", "#d55e00"),
    ("textbook", "textbook (a transaction per request)", "#009e73"),
)


def write_plots(results: Results, directory: Path) -> list[Path]:
    """Write a plot a workload into ``directory``; return their paths."""
    paths = []
    workloads: tuple[Workload, ...] = ("uniform", "hot")
    for workload in workloads:
        lines = [(label, color, _points(results, family, workload)) for family, label, color in _SERIES]
        paths.append(directory / f"throughput_{workload}.svg")
        paths[-1].write_text(_plot(f"Transfers per second, {workload}", lines))
    return paths


def _points(results: Results, family: Family, workload: Workload) -> list[tuple[int, float]]:
    points = []
    for connections in CONNECTIONS:
        legs = results.of(family, workload=workload, connections=connections)
        value = middle(legs, lambda leg: leg.per_second)
        if value is not None:
            points.append((connections, value))
    return points


def _plot(title: str, lines: Sequence[tuple[str, str, Sequence[tuple[int, float]]]]) -> str:
    step = _step(max(value for _, _, points in lines for _, value in points))
    ticks = [step * number for number in range(6)]

    def across(connections: int) -> float:
        return LEFT + CONNECTIONS.index(connections) * (WIDTH - LEFT - RIGHT) / (len(CONNECTIONS) - 1)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - value / ticks[-1] * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 24, title, size=16)]
    for tick in ticks:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, up(tick) + 4, f"{tick:,.0f}", anchor="end"))
    parts += [_text(across(number), HEIGHT - BOTTOM + 18, str(number), anchor="middle") for number in CONNECTIONS]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "connections", anchor="middle"))
    for number, (label, color, points) in enumerate(lines):
        places = [(across(connections), up(value)) for connections, value in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>' for x, y in places]
        parts.append(f'<circle cx="{LEFT + 4}" cy="{44 + 18 * number}" r="4" fill="{color}"/>')
        parts.append(_text(LEFT + 16, 48 + 18 * number, label))
    content = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{content}\n</svg>\n'
    )


def _step(highest: float) -> float:
    """Return a round fifth of a scale that reaches ``highest``."""
    step = 1.0
    while True:
        for factor in (1, 2, 2.5, 4, 5):
            if step * factor * 5 >= highest:
                return step * factor
        step *= 10


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-family="sans-serif" font-size="{size}" fill="#333"'
        f' text-anchor="{anchor}">{text}</text>'
    )
