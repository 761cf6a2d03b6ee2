"""Which faults happen, in which order and for how long: drawn from a seed, and drawn the same again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

SHORT_SECONDS, LONG_SECONDS = (0.3, 2.0), (4.5, 7.0)
"""How long a fault lasts that has to be ended: less than the service tries for, or longer, so that it gives up
(FUNDS_COMMIT_DEADLINE_SECONDS).
"""
LONG_SHARE = 0.3


@dataclass(frozen=True)
class Step:
    """One fault; ``seconds`` is how long it lasts, where it does not end by itself."""

    fault: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.fault} ({self.seconds:.2f} s)"


def draw(seed: int, faults: Sequence[str], rounds: int = 1) -> list[Step]:
    """Return ``rounds`` times every one of ``faults``, each round in an order of its own."""
    dice = random.Random(seed)
    steps = []
    for _ in range(rounds):
        for fault in dice.sample(faults, len(faults)):
            bounds = LONG_SECONDS if dice.random() < LONG_SHARE else SHORT_SECONDS
            steps.append(Step(fault, dice.uniform(*bounds)))
    return steps
