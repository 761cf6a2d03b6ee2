"""Everything at once, for as long as you like: ``python -m tests.faults.schedules.soak --minutes 10 --seed 42``.

Schedules of every fault, one after the other, in an order that the seed draws, while callers do everything that moves
money. The checker judges each schedule when it is over, and every rule is asked of the ledgers; the memory, files,
connections and latency of a service whose processes nobody kills are the same in the last third as in the first.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.schedules.faults import FAULTS, lacking
from tests.faults.schedules.flatness import SAMPLE_SECONDS, SAMPLES_MIN, Watch, grown, table
from tests.faults.schedules.load import Load
from tests.faults.schedules.plan import draw
from tests.faults.schedules.playing import Player, directory_for_servers
from tests.faults.schedules.recovery import Recoveries
from tests.faults.schedules.stage import Stage, stage

STEPS = 10
"""How many faults there are before the checker judges: what is recorded until then is kept in memory."""


class Soak:
    """A run of ``minutes``, and what it has seen."""

    def __init__(self, scene: Stage, seed: int) -> None:
        self._scene = scene
        self._seed = seed
        self.watch = Watch(scene)
        self.recoveries = Recoveries()
        self.answers: Counter[str] = Counter()
        self.calls = 0

    async def run(self, minutes: float) -> None:
        """Play one schedule after the other until the time is over. Raises AssertionError where something is wrong."""
        deadline = time.monotonic() + minutes * 60
        number = 0
        while time.monotonic() < deadline:
            await self._play(self._seed + number)
            number += 1

    async def _play(self, seed: int) -> None:
        skipped = lacking(self._scene)
        player = Player(self._scene, seed, measured=False)
        steps = draw(seed, [fault for fault in FAULTS if fault not in skipped])[:STEPS]
        watching = asyncio.create_task(self._look(player.load))
        try:
            await player.play(steps)
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        for fault, measured in player.recoveries.by_fault.items():
            self.recoveries.by_fault[fault] += measured
        self.answers.update(player.journal.acknowledged)
        self.calls += len(player.journal.calls)
        _say(f"seed {seed}: {', '.join(map(str, steps))}: {len(player.journal.calls)} calls, no finding")

    async def _look(self, load: Load) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            await self.watch.look(load)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


async def soak(minutes: float, seed: int) -> None:
    """Run for ``minutes``; raises when a rule is broken, or something has grown."""
    _say(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="funds-soak-") as directory:
        async with stage(directory_for_servers(Path(directory))) as scene:
            for fault, reason in lacking(scene).items():
                _say(f"skipped: {fault}: {reason}")
            run = Soak(scene, seed)
            began = time.monotonic()
            try:
                await run.run(minutes)
            finally:
                _say(f"seed {seed}, {time.monotonic() - began:.0f} s, {run.calls} calls, answers {dict(run.answers)}")
                _say(run.recoveries.table({name: kind.since for name, kind in FAULTS.items()}))
    samples = run.watch.samples
    if len(samples) < SAMPLES_MIN:
        _say(f"{len(samples)} samples: too few to say what has grown")
        return
    _say(table(samples))
    found = grown(samples)
    assert not found, f"seed {seed}: {'; '.join(found)}"
    _say("Nothing is wrong, and nothing has grown.")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    asyncio.run(soak(arguments.minutes, arguments.seed))


if __name__ == "__main__":
    main()
