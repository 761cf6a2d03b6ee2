"""A time lapse of a service's metrics: scraped in quick succession, and told to Prometheus as if once in 15 s."""

import asyncio
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from tests.support.servers import ROOT

PROMTOOL = shutil.which("promtool")
ALERTS = ROOT / "deploy" / "monitoring" / "alerts.yaml"
INTERVAL_SECONDS = 15
"""What lies between two scrapes, for Prometheus."""
PAUSE_SECONDS = 0.03
"""What really does."""
SCRAPE_SECONDS_MAX = 30

_ASKED = frozenset(re.findall(r"\b(?:funds|http_server)_\w+", ALERTS.read_text()))
_SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_OF_SCRAPES = 'job="funds",instance="here"'
_GONE = "stale"

Series = dict[str, float]


class TimeLapse:
    """What Prometheus would have scraped of the instance whose operations listener is at ``port``.

    A rate is smaller than it really was, by PAUSE_SECONDS to INTERVAL_SECONDS; what a gauge says is what it said.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._scrapes: list[Series] = []
        self._quiet = 0

    async def watch(self, count: int, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        """Scrape ``count`` times; before each, ``meanwhile``."""
        for _ in range(count):
            if meanwhile is not None:
                await meanwhile()
            self._scrapes.append(await self._scrape())
            await asyncio.sleep(PAUSE_SECONDS)

    async def watch_while(
        self,
        metric: str,
        holds: Callable[[float | None], bool],
        count: int,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Scrape until the one series of ``metric`` (None: there is none) was so in ``count`` scrapes in a row; before
        each, ``meanwhile``.
        """
        lasted = 0
        async with asyncio.timeout(30):
            while lasted < count:
                await self.watch(1, meanwhile)
                values = [value for name, value in self._scrapes[-1].items() if name.startswith(metric)]
                lasted = lasted + 1 if holds(values[0] if values else None) else 0

    def quiet(self) -> None:
        """Note that all is well up to here."""
        self._quiet = len(self._scrapes) - 1

    def go_on(self, count: int, rising: str) -> None:
        """Add ``count`` scrapes that nobody made: all as in the last one, but that ``rising`` grows as time passes."""
        for _ in range(count):
            last = self._scrapes[-1]
            self._scrapes.append(
                {name: value + INTERVAL_SECONDS * name.startswith(rising) for name, value in last.items()}
            )

    def check(self, file: Path, *alerts: str, state: str = "firing") -> None:
        """Have promtool evaluate the alerts: none of ``alerts`` is in ``state`` while all is well, and each is at some
        time after that.
        """
        last = len(self._scrapes) - 1
        assert 0 < self._quiet < last
        seen = f'ALERTS{{alertstate="{state}", alertname=~"{"|".join(alerts)}"}}'
        after = (last - self._quiet) * INTERVAL_SECONDS
        expectations: list[dict[str, object]] = [
            {"expr": f"group by (alertname) ({seen})", "eval_time": _at(self._quiet), "exp_samples": []},
            {
                "expr": f"group by (alertname) (max_over_time({seen}[{after}s]))",
                "eval_time": _at(last),
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts],
            },
        ]
        evaluate(file, self._values(), expectations)

    async def _scrape(self) -> Series:
        try:
            text = await asyncio.to_thread(_read, self._url)
        except (OSError, HTTPException):
            return {_named("up"): 0}
        samples = (_SAMPLE.fullmatch(line) for line in text.splitlines())
        asked = (sample for sample in samples if sample is not None and sample["name"] in _ASKED)
        told = {_named(one["name"], one["labels"]): float(one["value"]) for one in asked}
        return {_named("up"): 1} | told

    def _values(self) -> list[dict[str, str]]:
        """Every series as promtool takes it: one that is not scraped any more is stale."""
        names = dict.fromkeys(name for scrape in self._scrapes for name in scrape)
        told = []
        for name in names:
            values = [str(scrape[name]) if name in scrape else _GONE for scrape in self._scrapes]
            told.append({"series": name, "values": " ".join(values)})
        return told


def evaluate(
    file: Path,
    series: list[dict[str, str]],
    expectations: Sequence[Mapping[str, object]],
    interval_seconds: int = INTERVAL_SECONDS,
) -> None:
    """Have promtool hold the alerts, on ``series``, to ``expectations``; ``file`` is written for it."""
    interval = f"{interval_seconds}s"
    test = {"interval": interval, "input_series": series, "promql_expr_test": expectations}
    # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": interval, "tests": [test]}))
    told = subprocess.run([str(PROMTOOL), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SCRAPE_SECONDS_MAX) as answer:
        text: bytes = answer.read()
    return text.decode()


def _at(scrape: int) -> str:
    return f"{scrape * INTERVAL_SECONDS}s"


def _named(name: str, labels: str | None = None) -> str:
    return f"{name}{{{_OF_SCRAPES if labels is None else f'{labels},{_OF_SCRAPES}'}}}"
