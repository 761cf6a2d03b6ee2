"""The callers' own record of their requests and answers, and its comparison with the ledgers."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from typing import Any, TypeVar

import asyncpg

from tests.support.orders import AnyOrder
from tests.support.socket_client import Answer, Client, ConnectionLostError

OrderT = TypeVar("OrderT", bound=AnyOrder)

DECIDE_SECONDS_MAX = 60.0
RETRY_SECONDS = 0.05

_UNAVAILABLE_CODES = {"overloaded", "database_unavailable", "contention"}


@dataclass
class _Record:
    order: AnyOrder
    in_flight: int = 0
    in_doubt: bool = False  # a request was lost, had an unknown outcome, or ran beside another
    not_applied_at: datetime | None = None  # when it was last said that nothing had been applied
    decided: Answer | None = None
    first_answers: int = 0  # decided answers that were not replays
    answers: list[Answer] = field(default_factory=list)


class Journal:
    """Posts orders and holds each answer against those before it.

    ``faults_expected``: lost connections and 503 are part of the test; without it they fail it. A first answer may then
    be called a replay, when the service itself had to try again.
    """

    def __init__(self, *, faults_expected: bool = False) -> None:
        self._records: dict[tuple[str, str], _Record] = {}
        self._faults_expected = faults_expected

    @property
    def unanswered(self) -> list[AnyOrder]:
        """Orders without a decision, as far as their callers know."""
        return [record.order for record in self._records.values() if record.decided is None]

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

    async def post(self, client: Client, order: AnyOrder) -> Answer | None:
        """Send ``order`` once; None when the connection was lost."""
        record = self._record(order)
        if record.in_flight:
            record.in_doubt = True
        record.in_flight += 1
        try:
            answer = await client.call("POST", order.path, order.body, key=order.key)
        except ConnectionLostError:
            record.in_doubt = True
            if not self._faults_expected:
                raise
            return None
        finally:
            record.in_flight -= 1
        self._take(record, answer)
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
        """Assert that the ledgers hold what was acknowledged, exactly once, and nothing else."""
        by_ledger: dict[str, list[_Record]] = defaultdict(list)
        for record in self._records.values():
            by_ledger[record.order.ledger].append(record)
        connection = await asyncpg.connect(url)
        try:
            for ledger, records in by_ledger.items():
                rows = await connection.fetch(_DECISIONS, ledger)
                _assert_agree(records, {row["idempotency_key"]: row for row in rows})
                made = await connection.fetchrow(_COUNTS, ledger)
                applied = Counter(row["operation"] for row in rows if row["outcome"] == "applied")
                assert made["transfers"] == sum(applied[operation] for operation in _MAKES_TRANSFER), (made, applied)
                assert made["holds"] == applied["open_hold"], (made, applied)
        finally:
            await connection.close()

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
            record.not_applied_at = datetime.now(UTC)
            return
        assert answer.status in {200, 201, 409, 422}, what
        if record.decided is None:
            if not record.in_doubt:  # nobody else has sent this key, and every try before was said to be not applied
                assert self._faults_expected or not answer.replayed, f"applied though never asked for: {what}"
                assert not _made_before(answer, record.not_applied_at), f"applied though said not to be: {what}"
            record.decided = answer
        else:
            assert (answer.status, answer.content) == (record.decided.status, record.decided.content), (
                f"another answer under the same key: {what}, before: {record.decided}"
            )
        record.first_answers += not answer.replayed
        assert record.first_answers <= 1, f"decided twice: {what}"


def _made_before(answer: Answer, moment: datetime | None) -> bool:
    if moment is None or answer.status not in {200, 201}:
        return False
    made_at = answer.content["closed_at"] if answer.status == 200 else answer.content["created_at"]
    return datetime.fromisoformat(made_at) < moment


_MAKES_TRANSFER = ("post_transfer", "capture_hold", "reverse_transfer")
_DECISIONS = """
    SELECT decision.idempotency_key, decision.operation, decision.outcome, decision.problem ->> 'code' AS code,
           coalesce(to_jsonb(transfer), to_jsonb(hold)) AS made
    FROM funds.decisions AS decision
    JOIN funds.ledgers AS ledger ON ledger.id = decision.ledger_id
    LEFT JOIN funds.transfers AS transfer
      ON transfer.ledger_id = decision.ledger_id AND transfer.id = decision.resource_id
    LEFT JOIN funds.holds AS hold ON hold.ledger_id = decision.ledger_id AND hold.id = decision.resource_id
    WHERE ledger.name = $1 AND decision.operation NOT IN ('create_account', 'revise_account', 'fence_key')
"""
_COUNTS = """
    SELECT (SELECT count(*) FROM funds.transfers WHERE ledger_id = ledger.id) AS transfers,
           (SELECT count(*) FROM funds.holds WHERE ledger_id = ledger.id) AS holds
    FROM funds.ledgers AS ledger WHERE ledger.name = $1
"""
_FACTS = ("id", "debit_account_id", "credit_account_id", "amount", "currency", "debit_account_version",
          "credit_account_version")  # fmt: skip
_TRANSFER_FACTS = (*_FACTS, "debit_balance_after", "credit_balance_after", "hold_id", "reverses_id", "group_id")
_SHOWN = {
    **dict.fromkeys(_MAKES_TRANSFER, _TRANSFER_FACTS),
    "open_hold": _FACTS,  # a hold's answer shows it as it was opened
    "void_hold": (
        *_FACTS,
        "status",
        "captured_amount",
        "closed_debit_account_version",
        "closed_credit_account_version",
    ),
}


def _assert_agree(records: list[_Record], decisions: dict[str, asyncpg.Record]) -> None:
    known = {record.order.key for record in records}
    assert decisions.keys() <= known, f"decided without being asked: {sorted(decisions.keys() - known)[:5]}"
    for record in records:
        row, answer = decisions.get(record.order.key), record.decided
        if answer is None:
            assert record.in_doubt or row is None, f"applied though said not to be: {record.order}"
            continue
        assert row is not None, f"acknowledged and lost: {record.order}, {json.dumps(answer.content)}"
        assert row["operation"] == record.order.operation, record.order
        if answer.status in {200, 201}:
            assert row["outcome"] == "applied", record.order
            stored = json.loads(row["made"])
            for name in _SHOWN[record.order.operation]:
                assert answer.content[name] == stored[name], f"{name}: told {answer.content}, stored {stored}"
        else:
            assert (row["outcome"], row["code"]) == ("rejected", answer.content["code"]), record.order
