"""How long it takes from a fault until transfers are acknowledged again, and until as many are as before."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RATE_SHARE = 0.8
"""The rate is back when it is this much of what it was."""


@dataclass(frozen=True)
class Recovery:
    """Seconds; ``rate`` is None where it was not waited for, or did not come back in time."""

    first: float
    rate: float | None


class Recoveries:
    """What was measured, by fault."""

    def __init__(self) -> None:
        self.by_fault: defaultdict[str, list[Recovery]] = defaultdict(list)

    def table(self, since: Mapping[str, str]) -> str:
        """Return the table in Markdown; ``since`` says from what each fault's seconds count."""
        lines = [
            "| fault | counted from | times | first acknowledged, p50 | p99 | rate is back, p50 | p99 |",
            "|---|---|---|---|---|---|---|",
        ]
        for fault, measured in sorted(self.by_fault.items()):
            first = [one.first for one in measured]
            rate = [math.inf if one.rate is None else one.rate for one in measured]
            cells = [percentile(first, 0.5), percentile(first, 0.99), percentile(rate, 0.5), percentile(rate, 0.99)]
            told = " | ".join("–" if math.isinf(cell) else f"{cell:.2f}" for cell in cells)
            lines.append(f"| {fault} | {since[fault]} | {len(measured)} | {told} |")
        return "\n".join(lines)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of ``values`` that at least ``share`` of them do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
