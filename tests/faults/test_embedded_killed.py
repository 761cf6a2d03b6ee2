"""The embedded PostgreSQL dies under a running service: it is started again, loudly, and nothing is lost."""

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.embedded.postgres import EmbeddedPostgres
from tests.support.bank import open_bank
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.other_session import wait_until
from tests.support.servers import RunningService, free_port, random_token
from tests.support.socket_client import Client

ROUND = 32
BETWEEN = 200
"""How many orders are decided between one death and the next."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    environment = {
        "FUNDS_DATA_DIR": str(tmp_path / "data"),
        "FUNDS_PORT": str(free_port()),
        "FUNDS_ADMIN_TOKEN": random_token(),
        "FUNDS_LOG_LEVEL": "warning",
    }
    service = RunningService(environment, tmp_path / "serve.log")
    yield service
    assert service.stop() == 0


async def test_it_is_killed_under_load_twice(service: RunningService, journal: Journal, tmp_path: Path) -> None:
    await asyncio.to_thread(service.wait_until_ready)
    server = EmbeddedPostgres(tmp_path / "data")
    server.attach()
    async with Client(service.url, service.admin_token) as client:
        bank = await open_bank(client, journal)
        async with asyncio.TaskGroup() as group:
            done, dice = asyncio.Event(), random.Random(5)

            async def post() -> None:
                while not done.is_set():
                    await journal.post_all([client], bank.random_orders(ROUND, dice), concurrency=ROUND)

            async def ready(status: int) -> bool:
                return (await client.call("GET", "/health/ready")).status == status

            group.create_task(post())
            for _ in range(2):
                enough = journal.decided_count + BETWEEN
                await wait_until(lambda: journal.decided_count >= enough)  # noqa: B023 - awaited here
                killed = server.pid
                assert killed is not None
                os.kill(killed, signal.SIGKILL)
                await wait_until(lambda: ready(503))
                await wait_until(lambda: ready(200))
                assert server.pid != killed
            done.set()
        await journal.decide_all([client])
    await journal.assert_ledgers_agree(server.superuser_url)
    await assert_ledger_is_sound(server.superuser_url, bounds_were_constant=True)
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
    told = [line for line in lines if line["logger"] == "service.embedded.supervision" and line["level"] == "error"]
    assert len(told) == 2, told
