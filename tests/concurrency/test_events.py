"""The feed over real HTTP: long polls and streams of consumers that come and go, while two processes write."""

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx

from tests.support.bank import Bank, open_bank
from tests.support.journal import Journal
from tests.support.servers import ROOT, RunningService
from tests.support.socket_client import Client

LONG = 30
WRITERS = 8
CONSUMERS = 6
THOUSAND = 1_000
END = "ffffffff-ffff-7fff-bfff-ffffffffffff"


def http(service: RunningService) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=service.url, headers={"Authorization": f"Bearer {service.admin_token}"}, timeout=2 * LONG
    )


async def stream(client: httpx.AsyncClient, path: str, last_id: str | None) -> AsyncGenerator[dict[str, str], None]:
    """The events of one stream, until it ends."""
    headers = {"Accept": "text/event-stream"} | ({} if last_id is None else {"Last-Event-ID": last_id})
    async with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                yield fields
                fields = {}


class Consumer:
    """Follows a ledger; what it has seen is all that survives when it is killed."""

    def __init__(self, clients: list[httpx.AsyncClient], path: str, *, streams: bool, dice: random.Random) -> None:
        self.seen: list[str] = []
        self._clients = clients
        self._path = path
        self._streams = streams
        self._dice = dice

    async def run(self) -> None:
        """Follow for ever, in whichever process."""
        while True:
            await (self._stream() if self._streams else self._poll())

    async def _stream(self) -> None:
        client = self._dice.choice(self._clients)
        async with aclosing(stream(client, self._path, self.seen[-1] if self.seen else None)) as events:
            async for event in events:
                document = json.loads(event["data"])
                assert (document["id"], document["type"]) == (event["id"], event["event"])
                self.seen.append(event["id"])

    async def _poll(self) -> None:
        query: dict[str, Any] = {"wait_seconds": LONG, "limit": self._dice.choice([1, 5, 1000])}
        if self.seen:
            query["after"] = self.seen[-1]
        response = await self._dice.choice(self._clients).get(self._path, params=query)
        page = response.raise_for_status().json()
        self.seen += [event["id"] for event in page["items"]]
        assert not page["items"] or page["last_id"] == self.seen[-1]

    async def live(self, ended: Callable[[list[str]], bool]) -> None:
        """Be killed and started again at random, until everything was seen."""
        while not ended(self.seen):
            running = asyncio.create_task(self.run())
            await asyncio.wait([running], timeout=self._dice.uniform(0.05, 0.6))
            assert not running.done(), running.exception()
            running.cancel()
            await asyncio.wait([running])


async def write(client: Client, bank: Bank, dice: random.Random, count: int) -> None:
    """Post transfers, some of them rejected, and open holds."""
    for _ in range(count):
        debit, credit = dice.sample(bank.customers, 2)
        amount = 10**9 if dice.random() < 0.2 else 1
        body = {"debit_account_id": debit, "credit_account_id": credit, "amount": amount, "currency": "USD"}
        path = f"/v1/ledgers/{bank.ledger}/{dice.choice(['transfers', 'holds'])}"
        answer = await client.call("POST", path, body, key=f"feed-{dice.getrandbits(64):x}")
        assert answer.status in {201, 422}, answer


async def everything(client: httpx.AsyncClient, path: str) -> list[str]:
    ids: list[str] = []
    after: dict[str, str] = {}
    while (page := (await client.get(path, params={"limit": 1000, **after})).raise_for_status().json())["items"]:
        ids += [event["id"] for event in page["items"]]
        after = {"after": page["last_id"]}
    return ids


async def test_consumers_that_are_killed_miss_nothing_and_see_nothing_twice(
    services: tuple[RunningService, RunningService], clients: tuple[Client, Client], journal: Journal
) -> None:
    bank = await open_bank(clients[0], journal, customers=10)
    path = f"/v1/ledgers/{bank.ledger}/events"
    written: list[str] = []
    async with http(services[0]) as one, http(services[1]) as other:
        consumers = [
            Consumer([one, other], path, streams=number % 2 == 0, dice=random.Random(number))
            for number in range(CONSUMERS)
        ]
        async with asyncio.timeout(4 * LONG), asyncio.TaskGroup() as living:
            for consumer in consumers:
                living.create_task(consumer.live(lambda seen: bool(written) and seen[-1:] == written[-1:]))
            async with asyncio.TaskGroup() as writing:
                for number in range(WRITERS):
                    writing.create_task(write(clients[number % 2], bank, random.Random(number), 30))
            written += await everything(one, path)
    assert len(written) > WRITERS * 30
    for consumer in consumers:
        assert consumer.seen == written


async def test_a_stream_goes_on_with_what_comes(
    services: tuple[RunningService, RunningService], clients: tuple[Client, Client], journal: Journal
) -> None:
    """From the event on that the consumer has seen, whichever process writes."""
    bank = await open_bank(clients[0], journal, customers=2)
    path = f"/v1/ledgers/{bank.ledger}/events"
    async with http(services[0]) as client:
        known = await everything(client, path)
        async with asyncio.timeout(LONG), aclosing(stream(client, path, known[-2])) as events:
            assert (await anext(events))["id"] == known[-1]
            for number in range(4):
                await write(clients[number % 2], bank, random.Random(number), 1)
                event = await anext(events)
                assert event["event"] in {"funds.transfer.posted", "funds.hold.opened", "funds.command.rejected"}
        assert (await everything(client, path))[-1] == event["id"]


async def test_a_thousand_who_wait_are_answered(
    services: tuple[RunningService, RunningService], clients: tuple[Client, Client], journal: Journal
) -> None:
    bank = await open_bank(clients[0], journal, customers=2)
    async with http(services[0]) as client:
        known = await everything(client, f"/v1/ledgers/{bank.ledger}/events")
    path = f"/v1/ledgers/{bank.ledger}/events?after={known[-1]}&wait_seconds={LONG}"
    waiting = []
    for _ in range(THOUSAND // 100):  # not more at a time than one client may have under way
        waiting += [asyncio.create_task(clients[0].call("GET", path)) for _ in range(100)]
        await asyncio.sleep(0.3)
    await write(clients[1], bank, random.Random(1), 1)
    answers = await asyncio.gather(*waiting)
    assert [answer.status for answer in answers] == [200] * THOUSAND
    assert {len(answer.content["items"]) for answer in answers} == {1}
    assert len({answer.content["last_id"] for answer in answers}) == 1


async def test_the_end_of_a_service_ends_waits_and_streams_at_once(serve: Callable[..., RunningService]) -> None:
    service = serve()
    async with http(service) as client, asyncio.timeout(2 * LONG):
        path = "/v1/ledgers/main/events"
        known = await everything(client, path)
        after = known[-1] if known else "00000000-0000-7000-8000-000000000000"
        began = time.monotonic()
        waiting = asyncio.create_task(client.get(path, params={"after": after, "wait_seconds": LONG}))
        streaming = asyncio.create_task(_drain(stream(client, path, after)))
        await asyncio.sleep(1)
        assert await asyncio.to_thread(service.stop) == 0
        assert time.monotonic() - began < LONG
        assert (await waiting).json() == {"items": [], "last_id": after}
        assert await streaming == []


async def test_the_consumer_of_the_readme(
    services: tuple[RunningService, RunningService],
    clients: tuple[Client, Client],
    journal: Journal,
    tmp_path: Path,
) -> None:
    """It is killed, and started again."""
    bank = await open_bank(clients[0], journal, customers=2)
    [code] = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text())
    environment = {"API": f"{services[0].url}/v1/ledgers/{bank.ledger}", "TOKEN": services[0].admin_token}
    printed: list[str] = []
    place = tmp_path / "last-event"
    async with http(services[0]) as client, asyncio.timeout(2 * LONG):
        for number in range(2):
            await write(clients[1], bank, random.Random(number), 3)
            known = await everything(client, f"/v1/ledgers/{bank.ledger}/events")
            consumer = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, env=environment, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            assert consumer.stdout is not None
            while len(printed) < len(known):
                printed.append((await consumer.stdout.readline()).decode())
            while not place.exists() or place.read_text() != known[-1]:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)
            consumer.kill()
            await consumer.wait()
        page = (await client.get(f"/v1/ledgers/{bank.ledger}/events", params={"limit": 1000})).json()
    told = [f"{event['time']} {event['type']} {json.dumps(event['data'])}\n" for event in page["items"]]
    assert printed == told


async def test_a_consumer_that_does_not_read_loses_its_stream(serve: Callable[..., RunningService]) -> None:
    """And its place among the followers, of whom its client has one here. It knows where to go on."""
    service = serve(FUNDS_WRITE_TIMEOUT_SECONDS="1", FUNDS_CLIENT_EVENT_FOLLOWERS_MAX="1", FUNDS_LOG_LEVEL="error")
    path = "/v1/ledgers/main/events"
    metadata = {f"name {number}": "x" * 500 for number in range(20)}
    async with asyncio.timeout(2 * LONG), Client(service.url, service.admin_token) as client:
        for number in range(600):
            body = {"currency": "USD", "metadata": metadata}
            assert (await client.call("POST", "/v1/ledgers/main/accounts", body, key=f"{number}")).status == 201
        slow = await client.connect(receive_bytes=4096)
        request = client.request("GET", f"{path}?limit=1000")
        await slow.send(request.replace(b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\n\r\n"))
        async with http(service) as other:
            statuses = [0]
            while statuses[-2:] != [429, 200]:
                statuses.append((await other.get(path, params={"after": END, "wait_seconds": 1})).status_code)
        slow.close(rudely=True)
        await slow.wait_closed()


async def test_head_has_no_stream(services: tuple[RunningService, RunningService]) -> None:
    async with http(services[0]) as client, asyncio.timeout(LONG / 2):
        response = await client.head("/v1/events", headers={"Accept": "text/event-stream"})
        assert (response.status_code, response.content) == (200, b"")


async def test_a_stream_ends_in_time(serve: Callable[..., RunningService]) -> None:
    service = serve(FUNDS_EVENT_STREAM_SECONDS_MAX="1")
    async with http(service) as client, asyncio.timeout(LONG):
        assert await _drain(stream(client, "/v1/events", None)) != []


async def _drain(events: AsyncIterator[dict[str, str]]) -> list[str]:
    return [event["id"] async for event in events]
