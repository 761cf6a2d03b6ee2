"""Playing a schedule: a fault after the other under load, each until the service has recovered; then the checker."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from funds_testing.histories import Call, Standing, check
from funds_testing.histories.files import write
from tests.faults.schedules.faults import FAULTS
from tests.faults.schedules.load import Load
from tests.faults.schedules.plan import Step
from tests.faults.schedules.recovery import RATE_SHARE, Recoveries, Recovery
from tests.faults.schedules.stage import STEADY, STRUCK, Stage
from tests.support.bank import open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import FINDINGS_SHOWN, Journal
from tests.support.servers import ROOT
from tests.support.standing import standing_in

BANKS = 2
CUSTOMERS = 12
FLOWING = 5
"""How much everybody who is called has acknowledged before the next fault."""
BEFORE_SECONDS, WINDOW_SECONDS = 2.0, 0.5
"""For how long the rate before a fault is looked at, and a rate at all."""
RECOVERY_SECONDS_MAX = 60.0
"""After that, the service does not recover: the schedule fails. No promise of how soon: see the table."""
RATE_SECONDS_MAX = 15.0
_POLL_SECONDS = 0.02


class NotRecoveredError(AssertionError):
    """Nobody has been acknowledged a transfer for too long."""


class Player:
    """Plays steps on ``stage``, each caller's dice from ``seed``. ``measured``: waits until the rate is back, too."""

    def __init__(self, stage: Stage, seed: int, *, measured: bool, say: Callable[[str], None] = lambda _: None) -> None:
        self._stage = stage
        self._seed = seed
        self._measured = measured
        self._say = say
        self.recoveries = Recoveries()
        self.journal = Journal(faults_expected=True)
        self.load = Load(stage, self.journal, seed)

    async def play(self, steps: Sequence[Step]) -> None:
        """Open banks, play ``steps`` under load, decide what is open, and hold the history against what stands.

        Raises AssertionError with the seed and the findings.
        """
        stage = self._stage
        stage.banks = [await open_bank(stage.clients[STRUCK], self.journal, customers=CUSTOMERS) for _ in range(BANKS)]
        self.load.start()
        try:
            for step in steps:
                await self._take(step)
        except TimeoutError as error:
            raise NotRecoveredError(f"seed {self._seed}: a step took too long") from error
        finally:
            stage.break_nothing()
            await self.load.stop()
        for name in (STEADY, STRUCK):
            await stage.ready(name)
        await self.journal.decide_all([stage.clients[STEADY], stage.clients[STRUCK]])
        await self._judge()

    async def history(self) -> tuple[list[Call], Standing]:
        """What callers recorded, and what stands."""
        calls = self.journal.calls
        return calls, await standing_in(self._stage.url, {call.ledger for call in calls})

    async def _judge(self) -> None:
        calls, standing = await self.history()
        findings = check(calls, standing)
        if findings:
            kept = ROOT / "build" / f"history-{self._seed}.jsonl"
            write(kept, calls, standing)
            told = "\n".join(map(str, findings[:FINDINGS_SHOWN]))
            raise AssertionError(f"seed {self._seed}: {len(findings)} findings ({kept}):\n{told}")
        await assert_ledger_is_sound(self._stage.url)

    async def _take(self, step: Step) -> None:
        """One fault: once everybody is served; until everybody is served again, and as before."""
        kind = FAULTS[step.fault]
        began = _now()
        await self._until(lambda: self.load.count_since(began, kind.hits) >= FLOWING, step)
        if self._measured:
            await asyncio.sleep(BEFORE_SECONDS)  # what is waited for is the rate in this time
        before = self._rate(_now(), kind.hits, BEFORE_SECONDS)
        async with kind.strike(self._stage, step.seconds) as moment:
            await self._until(lambda: self.load.first_since(moment, kind.hits) is not None, step)
            first = self.load.first_since(moment, kind.hits)
            assert first is not None
            rate = await self._rate_is_back(moment, kind.hits, before) if self._measured else None
            rate = None if rate is None else max(rate, first - moment)
        self.recoveries.by_fault[step.fault].append(Recovery(first - moment, rate))
        self._say(f"{step}: {first - moment:.2f} s" + ("" if rate is None else f", as before after {rate:.2f} s"))

    async def _until(self, condition: Callable[[], bool], step: Step) -> None:
        deadline = _now() + RECOVERY_SECONDS_MAX
        while not condition():
            self.load.raise_failures()
            if _now() > deadline:
                served = {name: len(times) for name, times in self.load.acknowledged.items()}
                raise NotRecoveredError(f"seed {self._seed}: {step}: not recovered; acknowledged so far {served}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _rate_is_back(self, moment: float, targets: tuple[str, ...], before: float) -> float | None:
        """How long after ``moment`` the first window began whose rate is what it was; None where there was none."""
        start = moment
        while start < moment + RATE_SECONDS_MAX:
            await asyncio.sleep(max(0.0, start + WINDOW_SECONDS - _now()))
            if self._rate(start + WINDOW_SECONDS, targets, WINDOW_SECONDS) >= RATE_SHARE * before:
                return start - moment
            start += WINDOW_SECONDS / 5
        return None

    def _rate(self, until: float, targets: tuple[str, ...], seconds: float) -> float:
        """Transfers a second that ``targets`` together acknowledged in ``seconds`` up to then."""
        since = {one: self.load.count_since(until - seconds, (one,)) for one in targets}
        after = {one: self.load.count_since(until, (one,)) for one in targets}
        return sum(since[one] - after[one] for one in targets) / seconds


def _now() -> float:
    return asyncio.get_running_loop().time()


def directory_for_servers(path: Path) -> Path:
    """Let PostgreSQL pass, which runs as another user for root."""
    path.chmod(0o711)
    return path
