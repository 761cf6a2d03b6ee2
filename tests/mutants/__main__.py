"""Mutation testing: ``python -m tests.mutants domain``, ``python -m tests.mutants commit --sample 200 --seed 1``.

The tests of a room are collected once, in this process. Each mutant gets a process of its own, forked from it: there
one function gets another code object, and the tests that call it run until the first one fails. What is known is kept
in ``build/mutants``: a run that was stopped goes on where it was, and a module that has changed is asked anew.
"""

import argparse
import hashlib
import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.runs import Room, Runs
from tests.support.servers import ROOT

RESULTS = ROOT / "build" / "mutants"

ROOMS = {
    "domain": Room(modules=("service/domain",), tests=("tests/domain",), with_database=False),
    "commit": Room(
        modules=(
            *("service/posting", "service/storage/group_commit", "service/storage/transactions.py"),
            *("service/storage/errors.py", "service/storage/retries.py", "service/api/http/problems.py"),
        ),
        tests=(
            *("tests/posting", "tests/storage/test_transactions.py", "tests/storage/test_errors.py"),
            *("tests/storage/test_batches.py", "tests/storage/test_binary_copy.py", "tests/storage/test_retry.py"),
            *("tests/api/test_problems.py", "tests/api/test_outcomes.py", "tests/api/test_batches.py"),
        ),
        with_database=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("--sample", type=int, help="try that many mutants, drawn at random (all)")
    parser.add_argument("--seed", type=int, default=1, help="which sample (1)")
    parser.add_argument("--only", default="", help="try mutants whose names have this text")
    given = parser.parse_args()
    os.chdir(ROOT)
    room = ROOMS[given.room]
    mutants = [mutant for mutant in _all(room) if given.only in mutant.name]
    if given.sample is not None:
        mutants = random.Random(given.seed).sample(mutants, min(given.sample, len(mutants)))
    known = _Known(RESULTS / f"{given.room}.jsonl")
    todo = [mutant for mutant in mutants if known.result(mutant) is None]
    _say(f"{len(mutants)} mutants, {len(mutants) - len(todo)} of them known")
    if todo:
        with Runs(room) as runs:
            for number, mutant in enumerate(todo, 1):
                result = runs.run(mutant)
                known.add(mutant, result)
                if result != "killed" or number % 100 == 0:
                    _say(f"{number}/{len(todo)} {result}: {mutant.name}")
    _tell(mutants, known)


def _say(sentence: str) -> None:
    print(sentence, flush=True)  # noqa: T201


def _all(room: Room) -> list[Mutant]:
    return [one for path in room.sources() for one in mutants_of(str(path), path.read_text())]


def _tell(mutants: Sequence[Mutant], known: "_Known") -> None:
    results = {mutant: known.result(mutant) for mutant in mutants}
    for mutant, result in results.items():
        if result != "killed":
            _say(f"{result}: {mutant.name}")
    killed = sum(result == "killed" for result in results.values())
    _say(f"{killed} of {len(mutants)} killed: {100 * killed / max(1, len(mutants)):.1f} %")
    sys.exit(0)


class _Known:
    """What is known of mutants, by their code before and after; a line each in a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._results: dict[str, str] = dict(map(json.loads, lines))

    def result(self, mutant: Mutant) -> str | None:
        return self._results.get(self._key(mutant))

    def add(self, mutant: Mutant, result: str) -> None:
        self._results[self._key(mutant)] = result
        with self._path.open("a") as file:
            file.write(json.dumps([self._key(mutant), result]) + "\n")

    def _key(self, mutant: Mutant) -> str:
        source = hashlib.sha256(Path(mutant.module).read_bytes()).hexdigest()[:12]
        return f"{mutant.module} {source} {mutant.number}"


if __name__ == "__main__":
    main()
