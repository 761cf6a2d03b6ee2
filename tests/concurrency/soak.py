"""Everything at once, for as long as you like: ``python -m tests.concurrency.soak --minutes 10``.

Two service processes, one of them behind a proxy that fails COMMITs, run on a PostgreSQL of their own, while callers
post, hold, capture, void, reverse, repeat themselves, leave and revise accounts, and processes, connections and the
database are killed. The invariants of the ledgers are checked under load every few seconds. At the end, the ledgers are
compared with the callers' journal.
"""

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg

from service.embedded.postgres import EmbeddedPostgres
from service.storage.migrations import upgrade
from tests.support.bank import Bank, open_bank, some_twice
from tests.support.commit_proxy import CommitProxy, Fault, commit_proxy
from tests.support.invariants import assert_ledger_is_sound
from tests.support.journal import Journal
from tests.support.killing import kill_everything
from tests.support.orders import AnyOrder, HoldOrder, Order
from tests.support.other_session import holding_account
from tests.support.servers import RunningService, free_port, random_token
from tests.support.service_process import launch
from tests.support.socket_client import Client, ConnectionLostError

BANKS = 3
ROUND = 60
HOLD_SECONDS_MAX = 5
CALLERS = 32
LOOK_SECONDS = 10.0
FAULT_SECONDS_MAX = 4.0
LOCK_SECONDS_MAX = 3.0


class Soak:
    """A run: its servers, its callers, and the faults that it provokes."""

    def __init__(self, postgres: EmbeddedPostgres, proxy: CommitProxy, logs: Path, dice: random.Random) -> None:
        self._postgres = postgres
        self._url = postgres.service_url
        self._proxy = proxy
        self._logs = logs
        self._dice = dice
        self._token = random_token()
        self._urls = [self._url, proxy.url]
        self._ports = [free_port(), free_port()]
        self._services: list[RunningService] = []
        self._banks: list[Bank] = []
        self._clients: list[Client] = []
        self._stopping = False
        self.journal = Journal(faults_expected=True)
        self.troubles: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Start everything, make trouble for ``seconds``, decide what is open, and compare ledgers and journal."""
        self._services = [await self._start(number) for number in range(2)]
        self._clients = [Client(service.url, self._token) for service in self._services]
        try:
            self._banks = [await open_bank(self._clients[0], self.journal) for _ in range(BANKS)]
            async with asyncio.TaskGroup() as group:
                for work in (self._post, self._leave, self._revise, self._make_trouble, self._look):
                    group.create_task(work())
                await asyncio.sleep(seconds)
                self._stopping = True
            await self._keep_running()
            await self.journal.decide_all(self._clients)
            await self.journal.assert_ledgers_agree(self._url)
            await assert_ledger_is_sound(self._url)
        finally:
            for client in self._clients:
                await client.__aexit__(None, None, None)
            for service in self._services:
                await asyncio.to_thread(service.stop, signal.SIGKILL)

    async def _start(self, number: int) -> RunningService:
        service = launch(
            self._urls[number], self._logs / f"serve-{number}.log", token=self._token, port=self._ports[number]
        )
        await asyncio.to_thread(service.wait_until_ready)
        return service

    async def _keep_running(self) -> None:
        for number, service in enumerate(self._services):
            if service.process.poll() is not None:
                self._services[number] = await self._start(number)

    async def _post(self) -> None:
        orders: list[AnyOrder] = []
        while not self._stopping:
            orders = [order for bank in self._banks for order in self._wishes(bank, orders)]
            self._dice.shuffle(orders)
            await self.journal.post_all(self._clients, some_twice(orders, self._dice), concurrency=CALLERS)
            await self.journal.post_all(self._clients, self.journal.unanswered, concurrency=CALLERS)

    def _wishes(self, bank: Bank, before: list[AnyOrder]) -> list[AnyOrder]:
        """Return new transfers and holds, and what may follow on those of ``before``."""
        dice = self._dice
        wishes: list[AnyOrder] = [
            replace(order, at_most=dice.random() < 0.1) for order in bank.random_orders(ROUND, dice)
        ]
        for _ in range(ROUND // 3):
            debit, credit = dice.sample(bank.customers, 2)
            hold = bank.hold(debit, credit, dice.randint(1, 400))
            wishes.append(replace(hold, expires_in_seconds=dice.randint(1, HOLD_SECONDS_MAX)))
        undecided = set(self.journal.unanswered)
        known = [order for order in before if order.ledger == bank.ledger and order not in undecided]
        for order in self.journal.applied(known):
            made = self.journal.content(order)["id"]
            if isinstance(order, HoldOrder):
                ends = [bank.capture(made), bank.void(made), bank.capture(made, order.amount // 3 + 1)]
                parts = [bank.capture(made, order.amount // 3 + 1, final=False) for _ in range(3)]
                wishes += dice.sample([*ends, *parts], dice.randint(0, 4))
            elif isinstance(order, Order) and dice.random() < 0.2:
                wishes += [bank.reversal(made, order.amount // 2 + 1), bank.reversal(made)]
        return wishes

    async def _leave(self) -> None:
        while not self._stopping:
            [order] = self._dice.choice(self._banks).random_orders(1, self._dice)
            client = self._dice.choice(self._clients)
            self.journal.expect(order)
            try:
                connection = await client.connect()
                await connection.send(client.request("POST", order.path, order.body, key=order.key))
                await asyncio.sleep(self._dice.random() / 50)
                connection.close(rudely=self._dice.random() < 0.5)
                await connection.wait_closed()
            except ConnectionLostError:
                await asyncio.sleep(0.1)

    async def _revise(self) -> None:
        while not self._stopping:
            bank = self._dice.choice(self._banks)
            change = self._dice.choice(
                [{"minimum_balance": self._dice.randint(0, 500)}, {"minimum_balance": 0}, {"status": "frozen"}]
            )
            for body in (change, {"status": "open"}):
                path = f"/v1/ledgers/{bank.ledger}/accounts/{self._dice.choice(bank.customers[:5])}"
                try:
                    answer = await self._dice.choice(self._clients).call("PATCH", path, body, if_match="*")
                except ConnectionLostError:
                    continue
                assert answer.status in {200, 422, 503}, answer
            await asyncio.sleep(self._dice.random() / 5)

    async def _look(self) -> None:
        while not self._stopping:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await assert_ledger_is_sound(self._url)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                continue  # the database is being killed

    async def _make_trouble(self) -> None:
        troubles: list[Callable[[], Awaitable[None]]] = [
            self._kill_service, self._stop_service, self._terminate_backends, self._crash_database, self._hold_lock,
            self._cut_commits, self._cut_commits, self._cut_commits,
        ]  # fmt: skip
        while not self._stopping:
            await asyncio.sleep(self._dice.random() * FAULT_SECONDS_MAX)
            trouble = self._dice.choice(troubles)
            self.troubles[trouble.__name__.removeprefix("_")] += 1
            await trouble()
        self._proxy.break_nothing()

    async def _kill_service(self) -> None:
        number = self._dice.randrange(2)
        kill_everything(self._services[number])
        self._services[number] = await self._start(number)

    async def _stop_service(self) -> None:
        number = self._dice.randrange(2)
        code = await asyncio.to_thread(self._services[number].stop)
        assert code == 0, f"exit code {code}"
        self._services[number] = await self._start(number)

    async def _terminate_backends(self) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            for _ in range(20):
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"
                )
                await asyncio.sleep(self._dice.random() / 10)
        finally:
            await connection.close()

    async def _crash_database(self) -> None:
        await asyncio.to_thread(self._postgres.stop, "immediate")
        await asyncio.sleep(self._dice.random() * 2)
        await asyncio.to_thread(self._postgres.start)

    async def _hold_lock(self) -> None:
        async with holding_account(self._url, self._dice.choice(self._dice.choice(self._banks).customers)):
            await asyncio.sleep(self._dice.random() * LOCK_SECONDS_MAX)

    async def _cut_commits(self) -> None:
        faults = [Fault.ANSWER_LOST, Fault.REQUEST_LOST, Fault.ANSWER_RACED, Fault.CUT_AFTER]
        self._proxy.break_commits(self._dice.choice(faults), self._dice.randint(1, 10))


async def soak(minutes: float, seed: int) -> None:
    """Run for ``minutes``; raises when a rule is broken."""
    with tempfile.TemporaryDirectory(prefix="funds-soak-") as directory:
        if os.geteuid() == 0:
            Path(directory).chmod(0o711)  # PostgreSQL runs as another user
        postgres = EmbeddedPostgres(Path(directory) / "data", options={"fsync": "off"}, tcp_port=free_port())
        await asyncio.to_thread(postgres.start)
        try:
            await upgrade(postgres.owner_url)
            async with commit_proxy(postgres.service_url) as proxy:
                run = Soak(postgres, proxy, Path(directory), random.Random(seed))
                started = time.monotonic()
                try:
                    await run.run(minutes * 60)
                finally:
                    print(f"seed {seed}, {time.monotonic() - started:.0f} s")  # noqa: T201
                    print(f"answers  {run.journal.acknowledged}")  # noqa: T201
                    print(f"troubles {dict(run.troubles)}")  # noqa: T201
        finally:
            await asyncio.to_thread(postgres.stop)
    print("The ledgers are sound.")  # noqa: T201


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    asyncio.run(soak(arguments.minutes, arguments.seed))


if __name__ == "__main__":
    main()
