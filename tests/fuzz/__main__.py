"""Fuzzing for as long as you like: ``python -m tests.fuzz --seconds 600 --seed 7``.

A quarter of the time goes to each operation by itself, half to sequences of them (``api.py``), and a quarter to bytes
at decoders (the tests of this folder, with other bytes each round). What fails is printed with what shows it again.
"""

import argparse
import asyncio
import secrets
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.api import fuzz_api
from tests.fuzz.drawing import FUZZ, say


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long, about (600)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="draw what this seed drew before")
    given = parser.parse_args()
    quarter = max(10, given.seconds // 4)
    say(
        f"seed {given.seed}; the same again: make fuzz ARGS='--seed {given.seed} --seconds {given.seconds}'",
    )
    with TemporaryDirectory(prefix="funds-fuzz-") as directory:
        sound = asyncio.run(
            fuzz_api(Path(directory), seed=given.seed, alone_seconds=quarter, sequences_seconds=2 * quarter)
        )
    sound &= _fuzz_bytes(given.seed, quarter)
    say("everything held" if sound else f"FAILED, from seed {given.seed}")
    raise SystemExit(not sound)


def _fuzz_bytes(seed: int, seconds: float) -> bool:
    """Run the tests of this folder again and again, from one seed after the other, until the time is over."""
    end, sound = time.monotonic() + seconds, True
    while sound and time.monotonic() < end:
        say(f"bytes at decoders, from seed {seed}")
        options = [f"--hypothesis-profile={FUZZ}", f"--hypothesis-seed={seed}", "--timeout=0", "-k", "changed or parts"]
        command = [sys.executable, "-m", "pytest", "--quiet", "-n0", "-p", "no:cacheprovider", *options, "tests/fuzz"]
        sound = subprocess.run(command, check=False).returncode == 0
        seed += 1
    return sound


if __name__ == "__main__":
    main()
