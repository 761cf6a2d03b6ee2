"""Look-ups of single rows that share queries: those that arrive while a query runs are answered by the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from service.storage.transactions import Reader

K = TypeVar("K")
R = TypeVar("R")
P = TypeVar("P")
A = TypeVar("A")

Query = Callable[[AsyncSession, int, Sequence[K]], Awaitable[Sequence[R]]]
"""Returns the rows of a ledger that have one of the keys, in any order."""

Found = tuple[R | None, datetime | None]
"""A row, or None if there is none; and for an answer of the replica, the time up to which it holds everything."""

_QUERY_SECONDS_MIN = 0.5


class CoalescedReads(Generic[K, R]):
    """Looks up single rows by ``key``, with one query at a time for each ledger and no added delay.

    The query that answers a call begins after the call, so a caller reads everything that was written before its call.
    The callers of one query share its rows and must not change them. All callers together use one connection for each
    ledger. No caller waits much longer than the reader's deadline: the time that it waited for the query before is
    subtracted from the time of its own query.
    """

    def __init__(self, reader: Reader, query: Query[K, R], *, key: Callable[[R], Any] = attrgetter("id")) -> None:
        self._reader = reader
        self._query: Query[K, R] = query
        self._key = key
        self._waiting: dict[int, dict[K, list[asyncio.Future[Found[R]]]]] = {}
        self._waiting_since: dict[int, float] = {}
        self._running: dict[int, asyncio.Task[None]] = {}

    async def get(self, ledger_id: int, key: K) -> Found[R]:
        """Return the row, or None if the ledger has none with this key. Raises StorageError."""
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
                await asyncio.sleep(0)  # callers whose tasks are ready may join the next query
        finally:
            del self._running[ledger_id]

    async def _answer(
        self, ledger_id: int, wanted: dict[K, list[asyncio.Future[Found[R]]]], deadline_seconds: float
    ) -> None:
        try:
            rows, as_of = await self._reader.read(
                lambda session: self._query(session, ledger_id, list(wanted)), deadline_seconds=deadline_seconds
            )
        except Exception as error:  # noqa: BLE001 - every caller gets it
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


class SharedReads(Generic[P, A]):
    """Reads by a key that says all of what is wanted. One read runs at a time for each key, and the calls that arrive
    meanwhile share the next one.

    The read that answers a call begins after the call. The callers of one read share its answer and must not change it.
    One that goes away takes the answer from nobody.
    """

    def __init__(self, read: Callable[[P], Awaitable[A]]) -> None:
        self._read = read
        self._next: dict[P, asyncio.Task[A]] = {}
        self._running: dict[P, asyncio.Task[A]] = {}

    async def get(self, key: P) -> A:
        """Return what is read for ``key``. Raises what the read raises."""
        read = self._next.get(key)
        if read is None:
            read = self._next[key] = asyncio.create_task(self._run(key, self._running.get(key)))
            read.add_done_callback(_know_failure)
        return await asyncio.shield(read)

    async def _run(self, key: P, before: asyncio.Task[A] | None) -> A:
        if before is not None:
            await asyncio.wait([before])
        self._running[key] = self._next.pop(key)
        try:
            return await self._read(key)
        finally:
            del self._running[key]


def _know_failure(read: asyncio.Task[Any]) -> None:
    if not read.cancelled():
        read.exception()  # its callers know it; when all of them have gone away, nobody needs to


class Rows(Generic[K, R]):
    """Looks up single rows on the replica, and on the primary where the replica's row is missing or too old."""

    def __init__(self, nearest: CoalescedReads[K, R], primary: CoalescedReads[K, R]) -> None:
        self._nearest = nearest
        self._primary = primary

    async def get(self, ledger_id: int, key: K, enough: Callable[[R], bool] | None = None) -> Found[R]:
        """Return the row. A row of the replica is returned only if ``enough`` accepts it. Raises StorageError."""
        found = await self._nearest.get(ledger_id, key)
        row, as_of = found
        if as_of is None or (row is not None and (enough is None or enough(row))):
            return found
        return await self._primary.get(ledger_id, key)
