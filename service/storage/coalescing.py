"""Look-ups of single rows, gathered: those that arrive while a query runs share the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from service.storage.retry import Reader

K = TypeVar("K")
R = TypeVar("R")

Query = Callable[[AsyncSession, int, Sequence[K]], Awaitable[Sequence[R]]]
"""Returns the rows that a ledger has of the keys, in any order."""

Found = tuple[R | None, datetime | None]
"""A row, or None, and for one of the replica the time up to which that held everything (``Reader.read``)."""

_QUERY_SECONDS_MIN = 0.5


class CoalescedReads(Generic[K, R]):
    """Looks up single rows by ``key``, with one query at a time for each ledger and no added delay.

    The query that answers a call begins after the call, so a caller reads what was written before it asked. Rows are
    shared by the callers of one query: they are to be read only. However many callers ask, they take one connection for
    each ledger, and none of them waits much longer than the reader's deadline: what a caller has waited for the query
    before is taken from the time of its own.
    """

    def __init__(self, reader: Reader, query: Query[K, R], *, key: Callable[[R], Any] = attrgetter("id")) -> None:
        self._reader = reader
        self._query: Query[K, R] = query
        self._key = key
        self._waiting: dict[int, dict[K, list[asyncio.Future[Found[R]]]]] = {}
        self._waiting_since: dict[int, float] = {}
        self._running: dict[int, asyncio.Task[None]] = {}

    async def get(self, ledger_id: int, key: K) -> Found[R]:
        """Return the row, None if the ledger has none of this key. Raises StorageError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found[R]] = loop.create_future()
        waiting = self._waiting.get(ledger_id)
        if waiting is None:
            waiting = self._waiting[ledger_id] = {}
            self._waiting_since[ledger_id] = loop.time()
        waiting.setdefault(key, []).append(answer)
        if ledger_id not in self._running:
            self._running[ledger_id] = asyncio.create_task(self._run(ledger_id))
        return await answer

    async def _run(self, ledger_id: int) -> None:
        try:
            while wanted := self._waiting.pop(ledger_id, None):
                waited = asyncio.get_running_loop().time() - self._waiting_since[ledger_id]
                await self._answer(ledger_id, wanted, max(self._reader.deadline_seconds - waited, _QUERY_SECONDS_MIN))
                await asyncio.sleep(0)  # whoever is at the door may join the next query
        finally:
            del self._running[ledger_id]

    async def _answer(
        self, ledger_id: int, wanted: dict[K, list[asyncio.Future[Found[R]]]], deadline_seconds: float
    ) -> None:
        try:
            rows, as_of = await self._reader.read(
                lambda session: self._query(session, ledger_id, list(wanted)), deadline_seconds=deadline_seconds
            )
        except Exception as error:  # noqa: BLE001 - every caller is told
            for answer in chain.from_iterable(wanted.values()):
                if not answer.done():  # its caller has gone away
                    answer.set_exception(error)
            return
        found = {self._key(row): row for row in rows}
        for key, answers in wanted.items():
            row = found.get(key), as_of
            for answer in answers:
                if not answer.done():
                    answer.set_result(row)


class Rows(Generic[K, R]):
    """Single rows of the replica, or of the primary where the replica's row is missing or too old."""

    def __init__(self, nearest: CoalescedReads[K, R], primary: CoalescedReads[K, R]) -> None:
        self._nearest = nearest
        self._primary = primary

    async def get(self, ledger_id: int, key: K, enough: Callable[[R], bool] | None = None) -> Found[R]:
        """Return the row; one of the replica only if it is ``enough``. Raises StorageError."""
        found = await self._nearest.get(ledger_id, key)
        row, as_of = found
        if as_of is None or (row is not None and (enough is None or enough(row))):
            return found
        return await self._primary.get(ledger_id, key)
