"""One history, whoever is killed: two processes write a ledger and seal its log, and are killed at random, while
followers of every kind read it from whichever process answers.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.proofs.keys import SignerKey
from tests.support.http_ledger import JSON, answer, item, keyed, transfer, unique
from tests.support.invariants import assert_ledger_is_sound
from tests.support.killing import kill_everything
from tests.support.log import ORIGIN
from tests.support.log_verifier import ReferenceTree, check_checkpoint, check_consistency
from tests.support.servers import RunningService, TestDatabase, free_port, random_token, run_funds
from tests.support.service_process import launch

LEDGER = "/v1/ledgers/main"
PROCESSES = 2
KILLS = 2
GROUP = 1_000
IMPORTED = 300
CATCH_UP_SECONDS_MAX = 60

_ENDS = ("captures", "void", "")
_LISTED = {"transfers": "transfer.posted", "holds": "hold.opened", "accounts": "account.opened"}

Work = Callable[[], Coroutine[Any, Any, None]]


class Fleet:
    """The processes, and callers that try again, at any of them, until one answers."""

    def __init__(self, database: TestDatabase, logs: Path, dice: random.Random) -> None:
        self._database = database
        self._logs = logs
        self._dice = dice
        self._token = random_token()
        self.settings = {
            "FUNDS_LOG_KEY": SignerKey.generate(ORIGIN).secret_text(),
            "FUNDS_LOG_ORIGIN": ORIGIN,
            "FUNDS_LOG_SEAL_INTERVAL_SECONDS": "0.05",
        }
        self._services = [self._launch(free_port()) for _ in range(PROCESSES)]
        self._client = httpx.AsyncClient(headers={"Authorization": f"Bearer {self._token}"}, timeout=20)

    def _launch(self, port: int) -> RunningService:
        log = self._logs / f"{port}.log"
        return launch(self._database.service_url, log, token=self._token, port=port, **self.settings)

    async def start(self) -> None:
        for service in self._services:
            await asyncio.to_thread(service.wait_until_ready)

    async def close(self) -> None:
        await self._client.aclose()
        for service in self._services:
            await asyncio.to_thread(service.stop)

    async def kill_one(self) -> None:
        """Kill a process with its workers, and start it again."""
        number = self._dice.randrange(PROCESSES)
        await asyncio.to_thread(kill_everything, self._services[number])
        await asyncio.sleep(self._dice.uniform(0, 0.5))
        self._services[number] = self._launch(self._services[number].port)
        await asyncio.to_thread(self._services[number].wait_until_ready)

    @property
    def url(self) -> str:
        """Where one of the processes is, or was."""
        return self._dice.choice(self._services).url

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The first answer that is none for now."""
        while True:
            try:
                answered = await self._client.request(method, f"{self.url}{LEDGER}{path}", **options)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if answered.status_code not in {429, 503}:
                assert answered.status_code < 500, answered.text
                return answered
            await asyncio.sleep(0.05)

    async def lines(self, path: str, headers: dict[str, str]) -> AsyncIterator[str]:
        """The lines of a stream, until it ends or its process does."""
        try:
            async with self._client.stream("GET", f"{self.url}{LEDGER}{path}", headers=headers) as answered:
                if answered.status_code == 200:
                    async for line in answered.aiter_lines():
                        yield line
        except httpx.TransportError:
            await asyncio.sleep(0.05)


class Followers:
    """What each has seen: documents of events, or identifiers in lists."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.polled: list[JSON] = []
        self.streamed: list[JSON] = []
        self.sealed: list[str] = []
        self.notes: list[str] = []
        self.listed: dict[str, list[str]] = {kind: [] for kind in _LISTED}

    def works(self) -> list[Coroutine[Any, Any, None]]:
        return [self._poll(), self._stream(), self._read_log(), *(self._list(kind) for kind in self.listed)]

    async def _poll(self) -> None:
        while True:
            after = {"after": self.polled[-1]["id"]} if self.polled else {}
            page = answer(await self._fleet.call("GET", "/events", params={"wait_seconds": 5, "limit": 500} | after))
            self.polled += page["items"]

    async def _stream(self) -> None:
        while True:
            headers = {"Accept": "text/event-stream"}
            if self.streamed:
                headers["Last-Event-ID"] = self.streamed[-1]["id"]
            async for line in self._fleet.lines("/events", headers):
                if line.startswith("data: "):
                    self.streamed.append(json.loads(line.removeprefix("data: ")))

    async def _read_log(self) -> None:
        while True:
            page = await self._fleet.call("GET", f"/log/entries?from={len(self.sealed)}")
            self.sealed += page.text.split("\n")[:-1]
            note = await self._fleet.call("GET", "/log/checkpoint")
            if note.status_code == 200 and note.text not in self.notes:
                self.notes.append(note.text)
            await asyncio.sleep(0.05)

    async def _list(self, kind: str) -> None:
        cursor: dict[str, str] = {}
        while True:
            page = answer(await self._fleet.call("GET", f"/{kind}", params={"order": "asc", "limit": 300} | cursor))
            self.listed[kind] += [one["id"] for one in page["items"]]
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else cursor
            await asyncio.sleep(0.05)


class Traffic:
    """Callers that do everything that writes, until they are told to stop."""

    def __init__(self, fleet: Fleet, dice: random.Random, accounts: list[JSON], file: Path, url: str) -> None:
        self._fleet = fleet
        self._dice = dice
        self._accounts = accounts
        self._file = file
        self._url = url
        self.stopping = False
        self.ends: set[str] = set()
        """In which ways holds have ended, or were left to expire."""

    async def until_everything_happened(self) -> None:
        async with asyncio.timeout(CATCH_UP_SECONDS_MAX):
            while not self.ends >= set(_ENDS):  # noqa: ASYNC110 - each caller does what the dice say
                await asyncio.sleep(0.05)

    def works(self) -> list[Coroutine[Any, Any, None]]:
        often = [self._transfer] * 3 + [self._hold] * 2 + [self._revise, self._fence, self._open]
        return [*(self._repeat(work) for work in often), self._group(), self._import()]

    async def _repeat(self, work: Work) -> None:
        while not self.stopping:
            await work()

    def _pair(self) -> tuple[JSON, JSON]:
        debit, credit = self._dice.sample(self._accounts, 2)
        return debit, credit

    async def _transfer(self) -> None:
        amount = 10**15 if self._dice.random() < 0.2 else 1
        await self._fleet.call("POST", "/transfers", json=transfer(*self._pair(), amount=amount), headers=keyed())

    async def _hold(self) -> None:
        """Open a hold that expires, and capture or void it, or leave it."""
        body = transfer(*self._pair(), amount=2) | {"expires_in_seconds": 1}
        opened = await self._fleet.call("POST", "/holds", json=body, headers=keyed())
        if opened.status_code == 201:
            end = self._dice.choice(_ENDS)
            body = {"amount": 1, "final": self._dice.random() < 0.5} if end == "captures" else {}
            if end:
                path = f"/holds/{answer(opened)['id']}/{end}"
                ended = await self._fleet.call("POST", path, headers=keyed(), **({"json": body} if body else {}))
                if ended.status_code >= 300:  # it had expired
                    return
            self.ends.add(end)

    async def _revise(self) -> None:
        path = f"/accounts/{self._pair()[0]['id']}"
        headers = {"If-Match": "*"} | keyed()
        await self._fleet.call("PATCH", path, json={"name": unique("name")}, headers=headers)

    async def _fence(self) -> None:
        await self._fleet.call("POST", f"/idempotency-keys/{unique('fenced')}/fence")

    async def _open(self) -> None:
        await self._fleet.call("POST", "/accounts", json={"currency": "USD"}, headers=keyed())

    async def _group(self) -> None:
        items = [item(*self._pair()) for _ in range(GROUP)]
        done = await self._fleet.call("POST", "/transfers/batch", json={"transfers": items, "mode": "atomic"})
        assert done.status_code in {200, 201, 207}, done.text

    async def _import(self) -> None:
        self._file.write_text("reference,currency\n" + "".join(f"imported-{n},USD\n" for n in range(IMPORTED)))
        arguments = ("import", "accounts", str(self._file))
        settings = {"FUNDS_DATABASE_URL": self._url}
        done = await asyncio.to_thread(run_funds, *arguments, settings=settings)
        assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.timeout(300)
async def test_one_history_whoever_is_killed(test_database: TestDatabase, tmp_path: Path) -> None:
    dice = random.Random(20261127)
    fleet = Fleet(test_database, tmp_path, dice)
    try:
        await fleet.start()
        cash = [await account(fleet) for _ in range(2)]
        poor = [await account(fleet, minimum_balance=0) for _ in range(6)]
        for one in poor:
            await fleet.call("POST", "/transfers", json=transfer(cash[0], one, amount=100_000), headers=keyed())
        traffic = Traffic(fleet, dice, [*cash, *poor], tmp_path / "accounts.csv", test_database.service_url)
        followers = Followers(fleet)
        following = [asyncio.create_task(work) for work in followers.works()]
        writing = [asyncio.create_task(work) for work in traffic.works()]
        for _ in range(KILLS):
            await asyncio.sleep(dice.uniform(0.2, 1))
            await fleet.kill_one()
        await traffic.until_everything_happened()
        traffic.stopping = True
        await asyncio.gather(*writing)
        await everything_ended(test_database)
        entries = await everything(fleet)
        await caught_up(followers, following, len(entries))
        vkey = (await fleet.call("GET", "/log/key")).text.strip()
    finally:
        await fleet.close()
    await compare(followers, entries)
    await compare_checkpoints(test_database, followers, vkey)
    await assert_ledger_is_sound(test_database.superuser_url)


async def account(fleet: Fleet, **members: Any) -> JSON:
    return answer(await fleet.call("POST", "/accounts", json={"currency": "USD"} | members, headers=keyed()))


async def everything_ended(database: TestDatabase) -> None:
    """Wait until no hold is open: nothing happens any more."""
    connection = await asyncpg.connect(database.superuser_url)
    async with asyncio.timeout(CATCH_UP_SECONDS_MAX):
        while True:
            if not await connection.fetchval("SELECT count(*) FROM funds.holds WHERE status = 'open'"):
                break
            await asyncio.sleep(0.05)
    await connection.close()


async def everything(fleet: Fleet) -> list[JSON]:
    entries: list[JSON] = []
    while True:
        after = {"after": entries[-1]["id"]} if entries else {}
        page = answer(await fleet.call("GET", "/events", params={"limit": 1000} | after))
        if not page["items"]:
            return entries
        entries += page["items"]


async def caught_up(followers: Followers, following: list[asyncio.Task[None]], size: int) -> None:
    """Stop the followers once they have seen ``size`` entries, and then once more what there is."""
    deadline = time.monotonic() + CATCH_UP_SECONDS_MAX
    while min(len(followers.polled), len(followers.streamed), len(followers.sealed)) < size:
        failed = [task.exception() for task in following if task.done()]
        assert not failed, failed
        assert time.monotonic() < deadline, "the followers see less than there is"
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    for task in following:
        task.cancel()
    await asyncio.wait(following)


async def compare(followers: Followers, entries: list[JSON]) -> None:
    assert [entry["id"] for entry in entries] == sorted({entry["id"] for entry in entries})
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    assert followers.polled == entries
    assert followers.streamed == entries
    assert [json.loads(line) for line in followers.sealed] == entries
    assert {entry["type"] for entry in entries} >= {
        f"funds.{kind}"
        for kind in (
            *("transfer.posted", "hold.opened", "hold.captured", "hold.voided", "hold.expired"),
            *("account.opened", "account.revised", "command.rejected", "key.fenced"),
        )
    }
    for kind, entry_type in _LISTED.items():
        assert followers.listed[kind] == [one["id"] for one in entries if one["type"] == f"funds.{entry_type}"], kind


async def compare_checkpoints(database: TestDatabase, followers: Followers, vkey: str) -> None:
    """Every checkpoint that was signed, and every one that was seen, is of a beginning of the one log."""
    connection = await asyncpg.connect(database.superuser_url)
    rows = await connection.fetch("SELECT note FROM funds.log_checkpoints WHERE ledger_id = 1 ORDER BY size")
    await connection.close()
    tree = ReferenceTree([line.encode() for line in followers.sealed])
    heads = [check_checkpoint(note.encode(), vkey)[0] for note in (*(row["note"] for row in rows), *followers.notes)]
    assert len(rows) > KILLS
    assert heads[len(rows) - 1].size == len(followers.sealed)
    for head in heads:
        assert head.root == tree.root(head.size)
    for old, new in pairwise(heads[: len(rows)]):
        check_consistency(old.size, new.size, tree.proof(old.size, new.size), old.root, new.root)
