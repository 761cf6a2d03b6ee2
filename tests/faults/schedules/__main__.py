"""Every fault under load, drawn from a seed: ``python -m tests.faults.schedules --seed 42 --rounds 2``.

Prints the seed, each step with its recovery, and the table of all. ``--only`` takes the names of some faults.
"""

import argparse
import asyncio
import random
import tempfile
from pathlib import Path

from tests.faults.schedules.faults import FAULTS, lacking
from tests.faults.schedules.plan import draw
from tests.faults.schedules.playing import Player, directory_for_servers
from tests.faults.schedules.recovery import Recoveries
from tests.faults.schedules.stage import stage


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


async def play(seed: int, rounds: int, only: list[str]) -> None:
    """Play each round with banks of its own, and judge it by itself."""
    say(f"seed {seed}")
    recoveries = Recoveries()
    with tempfile.TemporaryDirectory(prefix="funds-faults-") as directory:
        async with stage(directory_for_servers(Path(directory))) as scene:
            for number in range(rounds):
                reasons = lacking(scene)
                for fault, reason in reasons.items():
                    say(f"skipped: {fault}: {reason}")
                faults = [fault for fault in only or FAULTS if fault not in reasons]
                player = Player(scene, seed + number, measured=True, say=say)
                await player.play(draw(seed + number, faults))
                for fault, measured in player.recoveries.by_fault.items():
                    recoveries.by_fault[fault] += measured
                say(f"round {number + 1}: {len(player.journal.calls)} calls {player.journal.acknowledged}, no finding")
    say(recoveries.table({name: kind.since for name, kind in FAULTS.items()}))


def main() -> None:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), default=[])
    arguments = parser.parse_args()
    asyncio.run(play(arguments.seed, arguments.rounds, arguments.only))


if __name__ == "__main__":
    main()
