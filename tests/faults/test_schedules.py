"""A short selection of the schedules that ``make faults`` plays: fixed seeds, whatever their faults are."""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from funds_testing.histories import check
from funds_testing.histories.files import read, write
from tests.faults.schedules.faults import FAULTS
from tests.faults.schedules.flatness import MEASURES, grown, table
from tests.faults.schedules.plan import LONG_SECONDS, SHORT_SECONDS, draw
from tests.faults.schedules.playing import Player
from tests.faults.schedules.recovery import Recoveries, Recovery, percentile
from tests.faults.schedules.stage import Stage, stage
from tests.histories.simulated import simulate
from tests.support.servers import ROOT

SEEDS = (4, 12)
STEPS = 3
QUICK = [fault for fault, kind in FAULTS.items() if not kind.slow]


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("stage"), balanced=False) as scene:
        yield scene


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_schedule(scene: Stage, seed: int) -> None:
    """What fails names the seed: ``make faults ARGS='--seed N'`` plays more of it, longer."""
    player = Player(scene, seed, measured=False)
    steps = draw(seed, QUICK)[:STEPS]
    await player.play(steps)
    assert sorted(player.recoveries.by_fault) == sorted(step.fault for step in steps)
    operations = {call.operation for call in player.journal.calls}
    assert {"post_transfer", "open_hold", "read_account", "read_transfer", "read_key"} <= operations


@pytest.mark.timeout(300)
async def test_a_recorded_history_would_be_found_wrong(scene: Stage, tmp_path: Path) -> None:
    """One of the real service, with what stands changed behind its back: as ``make faults`` keeps it in a file."""
    player = Player(scene, 3, measured=False)
    await player.play([])
    calls, standing = await player.history()
    file = tmp_path / "history.jsonl"
    write(file, calls, standing)
    assert read(file) == (calls, standing)
    lost = standing.transfers[-1]
    write(file, calls, replace(standing, transfers=standing.transfers[:-1]))
    command = [sys.executable, "-m", "funds_testing.histories", str(file)]
    path = {"PYTHONPATH": str(ROOT / "service" / "testing")}
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env=os.environ | path
    )
    assert done.returncode == 1
    assert f"lost: what was applied under {lost.key}" in done.stdout


def test_a_seed_draws_the_same_again() -> None:
    for seed in range(20):
        steps = draw(seed, list(FAULTS), rounds=2)
        assert steps == draw(seed, list(FAULTS), rounds=2)
        assert sorted(step.fault for step in steps) == sorted([*FAULTS, *FAULTS])
        assert all(SHORT_SECONDS[0] <= step.seconds <= LONG_SECONDS[1] for step in steps)
    assert draw(1, list(FAULTS)) != draw(2, list(FAULTS))


def test_the_table_of_recoveries() -> None:
    recoveries = Recoveries()
    recoveries.by_fault["a fault"] = [Recovery(number / 100, number / 10) for number in range(1, 101)]
    recoveries.by_fault["another"] = [Recovery(1.0, None)]
    *_, one, other = recoveries.table({"a fault": "its end", "another": "its beginning"}).splitlines()
    assert one == "| a fault | its end | 100 | 0.50 | 0.99 | 5.00 | 9.90 |"
    assert other == "| another | its beginning | 1 | 1.00 | 1.00 | – | – |"
    assert [percentile([3.0], share) for share in (0.5, 0.99)] == [3.0, 3.0]


def test_what_grows_is_told() -> None:
    """Caches that fill in the beginning are not."""
    flat = [dict.fromkeys(MEASURES, 100.0 + number % 3) for number in range(60)]
    assert grown([*[dict.fromkeys(MEASURES, 1.0)] * 5, *flat[5:]]) == []
    for name, measure in MEASURES.items():
        leaking = [sample | {name: 100.0 + number * measure.more / 2} for number, sample in enumerate(flat)]
        [told] = grown(leaking)
        assert told.startswith(f"{name} grew from ")
    assert table(flat).splitlines()[2] == "| memory of the worker (MB) | 101.0 | 101.0 | 15% and 10 MB |"


def test_histories_are_kept_in_files(tmp_path: Path) -> None:
    made = simulate(random.Random(1), 40)
    file = tmp_path / "history.jsonl"
    write(file, made.calls, made.standing)
    assert all(len(json.loads(line)) == 1 for line in file.read_text().splitlines())
    calls, standing = read(file)
    assert (calls, standing) == (made.calls, made.standing)
    assert check(calls, standing) == []
