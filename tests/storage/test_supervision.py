"""The embedded PostgreSQL is started again when it ends, at the same URLs, and never in a loop at full speed."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from service.embedded import supervision
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.supervision import Supervisor
from service.telemetry import metrics
from tests.support.other_session import wait_until

ENDED = "the embedded PostgreSQL has ended and is started again; its own log says why it ended"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    monkeypatch.setattr(supervision, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(supervision, "_PAUSE_SECONDS_FIRST", 0.1)
    with EmbeddedPostgres(tmp_path / "data", options={"fsync": "off"}) as server:
        yield server


def _kill(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


async def test_a_server_that_was_killed_or_stopped_runs_again(server: EmbeddedPostgres) -> None:
    url = server.service_url
    [before] = metrics.embedded_restarts.series()
    with Supervisor(server):
        for end in (signal.SIGKILL, signal.SIGINT):
            killed = server.pid
            assert killed is not None
            os.kill(killed, end)
            await wait_until(lambda: server.running and server.pid != killed)  # noqa: B023 - awaited here
            await wait_until(lambda: _answers(url))
    [counted] = metrics.embedded_restarts.series()
    assert counted.value >= before.value + 2


async def test_a_server_that_cannot_start_is_tried_again_more_and_more_seldom(
    server: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    control = server.data / "global" / "pg_control"
    with Supervisor(server):
        control.rename(control.with_suffix(".away"))
        _kill(server)

        def tries() -> list[float]:
            return [getattr(record, "pause_seconds", 0.0) for record in caplog.records if record.msg == ENDED]

        await wait_until(lambda: len(tries()) == 4)
        assert tries() == [0.1, 0.2, 0.4, 0.8]
        reasons = [getattr(record, "reason", "") for record in caplog.records if "cannot be started" in record.msg]
        assert len(reasons) == 3
        assert all("PostgreSQL did not start" in reason for reason in reasons)
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
        control.with_suffix(".away").rename(control)
        await wait_until(lambda: server.running)


async def test_a_server_that_is_stopped_on_purpose_is_left_alone(server: EmbeddedPostgres) -> None:
    with Supervisor(server):
        await asyncio.sleep(0.1)
    server.stop()
    await asyncio.sleep(0.3)
    assert not server.running


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True
