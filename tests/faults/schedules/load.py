"""Callers who do everything that moves money, look at what they did, leave, repeat themselves and give up."""

import asyncio
import random
from bisect import bisect_left
from collections import defaultdict, deque
from dataclasses import replace
from typing import Any

from tests.faults.schedules.stage import Stage
from tests.support.bank import Bank, revise
from tests.support.journal import Journal
from tests.support.orders import AnyOrder, HoldOrder, Look, Order
from tests.support.socket_client import ConnectionLostError

CALLERS = 4
"""How many there are for each that is called."""
RETRY_SECONDS = 0.05
REMEMBERED = 20
LATENCIES_MAX = 2_000
HOLD_SECONDS_MAX = 4
AMOUNT_MAX = 400

AT_MOST_SHARE, TWICE_SHARE, LOOK_SHARE = 0.1, 0.1, 0.3
GIVE_UP_SHARE, FENCE_SHARE, ASK_SHARE = 0.5, 0.1, 0.5
"""Of those that were refused, that got no answer, and of both: who gives up, who fences the key, who looks it up."""


class Load:
    """The callers of a stage, from the first bank to ``stop``. Each acts as its own dice say."""

    def __init__(self, stage: Stage, journal: Journal, seed: int) -> None:
        self._stage = stage
        self._journal = journal
        self._seed = seed
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: dict[str, list[float]] = defaultdict(list)
        """When what was asked for was acknowledged, by who was called, in seconds of the loop's clock."""
        self.latencies: deque[float] = deque(maxlen=LATENCIES_MAX)
        """How many seconds the last ones took."""
        self._sent_last: dict[str, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        """When the last ones were sent, and when acknowledged."""

    def start(self) -> None:
        for target in self._stage.clients:
            for number in range(CALLERS):
                self._begin(self._call(target, random.Random(f"{self._seed} {target} {number}")))
        self._begin(self._leave(random.Random(f"{self._seed} leaving")))
        self._begin(self._revise(random.Random(f"{self._seed} revising")))

    def _begin(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """End them, each after what it is doing; raises what one of them failed with."""
        self._over.set()
        await asyncio.gather(*self._tasks)

    def raise_failures(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    def count_since(self, moment: float, targets: tuple[str, ...]) -> int:
        """The least that any of ``targets`` has acknowledged since."""
        return min(len(self.acknowledged[one]) - bisect_left(self.acknowledged[one], moment) for one in targets)

    def first_since(self, moment: float, targets: tuple[str, ...]) -> float | None:
        """When each of ``targets`` had acknowledged something that was sent since then; None where one has not."""
        times = [[ended for began, ended in self._sent_last[one] if began >= moment] for one in targets]
        return max(map(min, times)) if all(times) else None

    async def _call(self, target: str, dice: random.Random) -> None:
        made: deque[tuple[AnyOrder, dict[str, Any]]] = deque(maxlen=REMEMBERED)
        while not self._over.is_set():
            order = self._wish(dice, made)
            content = await self._decided(target, order, dice)
            if content is None:
                continue
            if self._journal.outcome(order) == "applied":
                made.append((order, content))
            if dice.random() < LOOK_SHARE:
                await self._look(order, content, dice)

    def _wish(self, dice: random.Random, made: deque[tuple[AnyOrder, dict[str, Any]]]) -> AnyOrder:
        """Return a new transfer or hold, or what may follow on one that this caller has ``made``."""
        bank = dice.choice(self._stage.banks)
        earlier = [one for one in made if one[0].ledger == bank.ledger]
        if earlier and dice.random() < 0.3:
            order, content = dice.choice(earlier)
            if isinstance(order, HoldOrder):
                part = bank.capture(content["id"], order.amount // 3 + 1, final=dice.random() < 0.3)
                return dice.choice([bank.capture(content["id"]), bank.void(content["id"]), part, part])
            if isinstance(order, Order):
                return bank.reversal(content["id"], dice.choice([None, order.amount // 2 + 1]))
        debit, credit = dice.sample(bank.customers, 2)
        amount = dice.randint(1, AMOUNT_MAX)
        if dice.random() < 0.2:
            return replace(bank.hold(debit, credit, amount), expires_in_seconds=dice.randint(1, HOLD_SECONDS_MAX))
        return bank.order(debit, credit, amount, at_most=dice.random() < AT_MOST_SHARE)

    async def _decided(self, target: str, order: AnyOrder, dice: random.Random) -> dict[str, Any] | None:
        """Send ``order`` until it is decided, and return the answer; None where the caller has left it undecided."""
        clients = self._stage.clients
        if dice.random() < TWICE_SHARE:  # somebody else sends the same, at the same time
            other = dice.choice(list(clients.values()))
            self._begin(self._once(other, order))
        while True:
            began = asyncio.get_running_loop().time()
            answer = await self._journal.post(clients[target], order)
            ended = asyncio.get_running_loop().time()
            if answer is not None and answer.status != 503:
                if answer.status in {200, 201}:
                    self.acknowledged[target].append(ended)
                    self.latencies.append(ended - began)
                    self._sent_last[target].append((began, ended))
                return dict(answer.content)
            self._stage.refusals += 1
            certain = answer is not None and answer.content["outcome"] == "not_applied"
            if dice.random() < ASK_SHARE:
                await self._journal.look(dice.choice(list(clients.values())), Look.key_of(order))
            if certain and dice.random() < GIVE_UP_SHARE:
                self._journal.give_up(order)
                return None
            if not certain and dice.random() < FENCE_SHARE:
                await self._journal.look(clients[target], Look.fence(order))
            if self._over.is_set():
                return None
            await asyncio.sleep(RETRY_SECONDS)

    async def _once(self, client: Any, order: AnyOrder) -> None:
        await self._journal.post(client, order)

    async def _look(self, order: AnyOrder, content: dict[str, Any], dice: random.Random) -> None:
        """Read what was just done, wherever."""
        client = dice.choice(list(self._stage.clients.values()))
        account, version = content.get("debit_account_id"), content.get("debit_account_version")
        looks = [Look.key_of(order)]
        if version is not None:
            looks += [
                Look.account(order.ledger, str(account)),
                Look.account(order.ledger, str(account), min_version=version),
            ]
            if order.operation in {"post_transfer", "capture_hold", "reverse_transfer"}:
                looks.append(Look.transfer(order.ledger, content["id"]))
        await self._journal.look(client, dice.choice(looks))

    async def _leave(self, dice: random.Random) -> None:
        """Send requests and go away before the answer."""
        while not self._over.is_set():
            client = dice.choice(list(self._stage.clients.values()))
            [order] = dice.choice(self._stage.banks).random_orders(1, dice)
            self._journal.expect(order)
            try:
                connection = await client.connect()
                await connection.send(client.request("POST", order.path, order.body, key=order.key))
                await asyncio.sleep(dice.random() / 50)
                connection.close(rudely=dice.random() < 0.5)
                await connection.wait_closed()
            except ConnectionLostError:
                pass
            await asyncio.sleep(0.1)

    async def _revise(self, dice: random.Random) -> None:
        """Freeze an account and open it again, or change its minimum."""
        while not self._over.is_set():
            bank = dice.choice(self._stage.banks)
            change: dict[str, Any] = dice.choice([{"minimum_balance": dice.randint(0, 50)}, {"status": "frozen"}])
            for body in (change, {"status": "open", "minimum_balance": 0}):
                await self._revise_once(bank, body, dice)
            await asyncio.sleep(dice.random() / 2)

    async def _revise_once(self, bank: Bank, body: dict[str, Any], dice: random.Random) -> None:
        try:
            answer = await revise(dice.choice(list(self._stage.clients.values())), bank, bank.customers[-1], body)
        except ConnectionLostError:
            return
        assert answer.status in {200, 422, 503}, answer
