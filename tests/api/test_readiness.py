"""Looks at the parts of the service: together, each with its own limit, and with a reason for what is not ready."""

import asyncio
import logging
from typing import NoReturn

import pytest

from service.api.readiness import Readiness
from service.errors import NotReadyError
from service.telemetry.repeats import RepeatFilter


async def _fine() -> None:
    pass


async def _silent() -> None:
    await asyncio.sleep(60)


async def _stopped() -> NoReturn:
    raise NotReadyError("has stopped")


async def _broken() -> NoReturn:
    raise RuntimeError("at db.example.com as funds_service")


def _lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "service.api.readiness"]


async def test_each_look_has_a_limit_of_its_own() -> None:
    checks = await Readiness({"silent": _silent, "fine": _fine}).checks()
    assert (checks["silent"].ready, checks["silent"].reason) == (False, "does not answer")
    assert 1_000 < checks["silent"].latency_ms < 30_000
    assert (checks["fine"].ready, checks["fine"].reason) == (True, None)
    assert checks["fine"].latency_ms < checks["silent"].latency_ms / 2, "it does not wait for the others"


async def test_looks_run_together() -> None:
    started = asyncio.get_running_loop().time()
    checks = await Readiness({str(number): _silent for number in range(10)}).checks()
    took_ms = 1000 * (asyncio.get_running_loop().time() - started)
    assert took_ms < sum(check.latency_ms for check in checks.values()) / 2


async def test_every_failure_has_a_reason_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    checks = await Readiness({"stopped": _stopped, "broken": _broken, "fine": _fine}).checks()
    assert {part: check.reason for part, check in checks.items()} == {
        "stopped": "has stopped",
        "broken": "fails",
        "fine": None,
    }
    lines = {line.__dict__["part"]: line for line in _lines(caplog)}
    assert lines.keys() == {"stopped", "broken"}
    assert lines["stopped"].__dict__["reason"] == "stopped: has stopped"
    assert lines["broken"].__dict__["reason"].startswith("broken: RuntimeError at test_readiness.py:")
    assert (lines["stopped"].exc_info is None, lines["broken"].exc_info is None) == (True, False)


async def test_probes_repeat_and_the_log_does_not(caplog: pytest.LogCaptureFixture) -> None:
    repeats = RepeatFilter()
    readiness = Readiness({"stopped": _stopped})
    for _ in range(3):
        await readiness.checks()
    assert [repeats.filter(line) for line in _lines(caplog)] == [True, False, False]


async def test_stopping_leaves_no_look_behind() -> None:
    tasks = asyncio.all_tasks()
    readiness = Readiness({"silent": _silent})
    askers = [asyncio.create_task(readiness.checks()) for _ in range(2)]
    await asyncio.sleep(0)
    askers.append(asyncio.create_task(readiness.checks()))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        await readiness.stop()
    await asyncio.gather(*askers, return_exceptions=True)
    assert asyncio.all_tasks() == tasks
