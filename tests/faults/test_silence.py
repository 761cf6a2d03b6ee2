"""Connections to the database that fall silent without ending: every answer comes within five seconds all the same."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import httpx
import pytest

from service.storage import database
from tests.support.application import serving
from tests.support.commit_proxy import CommitProxy, commit_proxy
from tests.support.http_ledger import JSON, RECOVERY_SECONDS_MAX, LedgerClient, answer, keyed, transfer, unique
from tests.support.pace import Pace
from tests.support.servers import TestDatabase

ANSWER_SECONDS_MAX = 5.0

Told = dict[str, httpx.Response]


@dataclass(frozen=True)
class Scene:
    """A service with the settings of every day behind a proxy, and two accounts with a transfer between them."""

    proxy: CommitProxy
    pace: Pace
    ledger: LedgerClient
    debit: JSON
    credit: JSON
    moved: JSON

    async def ask_for_everything(self) -> Told:
        """Send one request of each kind, all at once; each must be answered in time."""
        ledger, client = self.ledger, self.ledger.client
        body = transfer(self.debit, self.credit)
        requests = {
            "readiness": client.get("/health/ready"),
            "account": client.get(f"{ledger.accounts}/{self.debit['id']}"),
            "transfer": client.get(f"{ledger.transfers}/{self.moved['id']}"),
            "list": client.get(ledger.transfers),
            "overview": client.get(f"{ledger.path}/overview"),
            "key": client.get(f"{ledger.path}/idempotency-keys/none"),
            "post": client.post(ledger.transfers, json=body, headers=keyed()),
            "dry run": client.post(f"{ledger.transfers}?dry_run=true", json=body),
            "open": client.post(ledger.accounts, json={"currency": "USD"}, headers=keyed()),
            "revise": ledger.revise(self.credit, name=unique("name")),
        }
        return dict(zip(requests, await asyncio.gather(*map(self.in_time, requests.values())), strict=True))

    async def ask_until_answered(self) -> Told:
        """Do so again while something is refused for now: opening the connections takes its time."""
        async with asyncio.timeout(self.pace.seconds(RECOVERY_SECONDS_MAX)):
            while True:
                told = await self.ask_for_everything()
                if all(response.status_code != 503 for response in told.values()):
                    return told

    async def in_time(
        self, request: Coroutine[Any, Any, httpx.Response], seconds_max: float = ANSWER_SECONDS_MAX
    ) -> httpx.Response:
        started = time.monotonic()
        response = await request
        assert time.monotonic() - started < self.pace.seconds(seconds_max), response.text
        return response


@pytest.fixture
async def scene(test_database: TestDatabase, pace: Pace) -> AsyncIterator[Scene]:
    async with commit_proxy(test_database.service_url) as proxy:
        behind = replace(test_database, service_url=proxy.url)
        async with (
            serving(behind, **pace.settings) as application,
            application.client(application.settings.admin_token) as client,
        ):
            ledger = await LedgerClient.open(client, unique("ledger"))
            debit, credit = await ledger.account(), await ledger.account()
            scene = Scene(proxy, pace, ledger, debit, credit, await ledger.move(debit, credit))
            _assert_all_succeed(await scene.ask_until_answered())  # every pool has connections now
            yield scene


def _assert_all_succeed(told: Told) -> None:
    assert {kind: response.status_code for kind, response in told.items()} == {
        kind: 201 if kind in {"post", "open"} else 200 for kind in told
    }


@pytest.mark.parametrize(
    ("unchecked_seconds", "read_seconds_max"),
    [(0.0, 1.8), (60.0, ANSWER_SECONDS_MAX)],  # a try alone, on a silent connection, lasts for two
    ids=["checked before use", "found out in use"],
)
async def test_connections_that_were_forgotten_are_replaced(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    superuser: asyncpg.Connection,
    unchecked_seconds: float,
    read_seconds_max: float,
) -> None:
    """No request fails: each finds out in time, and goes by a new connection. What is written is written once."""
    monkeypatch.setattr(database, "_IDLE_SECONDS_UNCHECKED", unchecked_seconds)
    posted = await superuser.fetchval("SELECT count(*) FROM funds.transfers")
    scene.proxy.forget()
    read = await scene.in_time(scene.ledger.client.get(scene.ledger.accounts), read_seconds_max)
    assert read.status_code == 200
    scene.proxy.forget()
    told = await scene.ask_for_everything()
    if told["revise"].status_code == 503:  # a PATCH whose COMMIT was sent has no key to find out by, and says so
        assert answer(told.pop("revise"))["outcome"] == "unknown"
    _assert_all_succeed(told)
    assert await superuser.fetchval("SELECT count(*) FROM funds.transfers") == posted + 1


async def test_a_silent_database_is_reported_in_time_and_used_again(scene: Scene) -> None:
    scene.proxy.fall_silent()
    for _ in range(2):  # the second time it has been found out already
        for kind, response in (await scene.ask_for_everything()).items():
            expected = "not_ready" if kind == "readiness" else "database_unavailable"
            assert (response.status_code, answer(response)["code"]) == (503, expected), kind
    scene.proxy.speak_again()
    _assert_all_succeed(await scene.ask_until_answered())


@pytest.fixture
async def superuser(superuser_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(superuser_url)
    yield connection
    await connection.close()
