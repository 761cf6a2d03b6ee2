"""The callers' own record of their requests and answers, as a history, and its comparison with the ledgers."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, TypeVar

from funds_testing.histories import Call, Recorder, check
from tests.support.orders import AnyOrder, Look
from tests.support.socket_client import Answer, Client, ConnectionLostError
from tests.support.standing import standing_in

OrderT = TypeVar("OrderT", bound=AnyOrder)

DECIDE_SECONDS_MAX = 60.0
RETRY_SECONDS = 0.05
FINDINGS_SHOWN = 10
AS_OF = "x-data-as-of"

_UNAVAILABLE_CODES = {"overloaded", "database_unavailable", "contention"}


@dataclass
class _Record:
    order: AnyOrder
    in_flight: int = 0
    given_up: bool = False  # its caller has left it at that
    in_doubt: bool = False  # a request was lost, had an unknown outcome, or ran beside another
    decided: Answer | None = None
    answers: list[Answer] = field(default_factory=list)


class Journal:
    """Posts orders and keeps the history of it, which the checker holds against the ledgers in the end.

    ``faults_expected``: lost connections and 503 are part of the test; without it they fail it. A first answer may then
    be called a replay, when the service itself had to try again.
    """

    def __init__(self, *, faults_expected: bool = False) -> None:
        self._records: dict[tuple[str, str], _Record] = {}
        self._faults_expected = faults_expected
        self.recorder = Recorder()

    @property
    def calls(self) -> list[Call]:
        """The history so far."""
        return self.recorder.calls

    @property
    def unanswered(self) -> list[AnyOrder]:
        """Orders without a decision, as far as their callers know, who have not given them up."""
        records = self._records.values()
        return [record.order for record in records if record.decided is None and not record.given_up]

    @property
    def acknowledged(self) -> dict[str, int]:
        """How many orders were decided, by status."""
        counts: dict[str, int] = defaultdict(int)
        for record in self._records.values():
            if record.decided is not None:
                counts[str(record.decided.status)] += 1
        return dict(counts)

    @property
    def decided_count(self) -> int:
        return sum(record.decided is not None for record in self._records.values())

    def answers(self, order: AnyOrder) -> list[Answer]:
        record = self._records.get((order.ledger, order.key))
        return [] if record is None else record.answers

    def outcome(self, order: AnyOrder) -> str:
        """What was decided: "applied", or the code of the rejection."""
        decided = self._record(order).decided
        assert decided is not None, f"undecided: {order}"
        return "applied" if decided.status in {200, 201} else str(decided.content["code"])

    def content(self, order: AnyOrder) -> Any:
        """What was answered, the first time and ever since."""
        decided = self._record(order).decided
        assert decided is not None, f"undecided: {order}"
        return decided.content

    def applied(self, orders: Iterable[OrderT]) -> list[OrderT]:
        """Return those of ``orders`` that were not rejected."""
        return [order for order in orders if self.outcome(order) == "applied"]

    def expect(self, order: AnyOrder) -> None:
        """Note an order that is sent by other means, and whose answer no caller waits for."""
        self._record(order).in_doubt = True
        with self.recorder.call(order.operation, order.ledger, key=order.key, terms=order.terms):
            pass  # nobody is told

    async def post(self, client: Client, order: AnyOrder) -> Answer | None:
        """Send ``order`` once; None when the connection was lost."""
        record = self._record(order)
        if record.in_flight:
            record.in_doubt = True
        record.in_flight += 1
        try:
            answer = await self._post(client, order)
        finally:
            record.in_flight -= 1
        if answer is None:
            record.in_doubt = True
        else:
            self._take(record, answer)
        return answer

    async def _post(self, client: Client, order: AnyOrder) -> Answer | None:
        """Send it, as a call of the history; a call that is lost or raises is one that nobody answered."""
        with self.recorder.call(
            order.operation, order.ledger, caller=client.url, key=order.key, terms=order.terms
        ) as call:
            try:
                answer = await client.call("POST", order.path, order.body, key=order.key)
            except ConnectionLostError:
                if not self._faults_expected:
                    raise
                return None
            call.answered(order.operation, answer.status, answer.content, replayed=answer.replayed)
        return answer

    def give_up(self, order: AnyOrder) -> None:
        """Never send ``order`` again: whatever was said of it last must stay so."""
        self._record(order).given_up = True

    async def look(self, client: Client, look: Look) -> Answer | None:
        """Read something, or fence a key; None when nobody answered."""
        with self.recorder.call(look.operation, look.ledger, caller=client.url, key=look.key, terms=look.terms) as call:
            try:
                answer = await client.call(look.method, look.path)
            except ConnectionLostError:
                if not self._faults_expected:
                    raise
                return None
            as_of = AS_OF in answer.headers
            call.answered(look.operation, answer.status, answer.content, replayed=answer.replayed, as_of=as_of)
        return answer

    async def post_all(self, clients: Sequence[Client], orders: Iterable[AnyOrder], *, concurrency: int = 64) -> None:
        """Send every order once, ``concurrency`` at a time, to ``clients`` in turn."""
        waiting = iter(zip(list(orders), cycle(clients)))

        async def work() -> None:
            for order, client in waiting:
                await self.post(client, order)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())

    async def decide_all(self, clients: Sequence[Client], *, concurrency: int = 32) -> None:
        """Send every undecided order again, under its key, until all are decided."""
        async with asyncio.timeout(DECIDE_SECONDS_MAX):
            while undecided := self.unanswered:
                before = len(undecided)
                await self.post_all(clients, undecided, concurrency=concurrency)
                if len(self.unanswered) == before:
                    await asyncio.sleep(RETRY_SECONDS)

    async def assert_ledgers_agree(self, url: str) -> None:
        """Assert that the ledgers hold what was acknowledged, exactly once and in its order, and nothing else."""
        findings = check(self.calls, await standing_in(url, {call.ledger for call in self.calls}))
        assert not findings, "\n".join(map(str, findings[:FINDINGS_SHOWN]))

    def _record(self, order: AnyOrder) -> _Record:
        record = self._records.setdefault((order.ledger, order.key), _Record(order))
        assert record.order == order, "a journal holds one order a key"
        return record

    def _take(self, record: _Record, answer: Answer) -> None:
        record.answers.append(answer)
        what = f"{record.order}: {answer}"
        if answer.status == 503:
            assert self._faults_expected, what
            assert answer.content["code"] in _UNAVAILABLE_CODES, what
            assert answer.content["retryable"] is True, what
            assert int(answer.headers["retry-after"]) > 0, what
            assert answer.content["outcome"] in {"unknown", "not_applied"}, what
            if answer.content["outcome"] == "unknown":
                record.in_doubt = True
            return
        assert answer.status in {200, 201, 409, 422}, what
        if record.decided is None:
            # Nobody else has sent this key, and every try before was said to be not applied.
            first = record.in_doubt or self._faults_expected or not answer.replayed
            assert first, f"applied though never asked for: {what}"
            record.decided = answer
