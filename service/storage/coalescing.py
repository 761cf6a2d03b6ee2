"""Reads of single rows, gathered: those that arrive while a query runs share the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.holds import Hold
from service.storage.models import Account, Transfer
from service.storage.retry import Reader

R = TypeVar("R", Account, Transfer, Hold)

Query = Callable[[AsyncSession, int, Sequence[UUID]], Awaitable[Sequence[R]]]
"""Returns the rows that a ledger has of the ids, in any order."""


class CoalescedReads(Generic[R]):
    """Looks up single rows by id, with one query at a time for each ledger and no added delay.

    The query that answers a call begins after the call, so a caller reads what was written before it asked. Rows are
    shared by the callers of one query: they are to be read only.
    """

    def __init__(self, reader: Reader, query: Query[R]) -> None:
        self._reader = reader
        self._query: Query[R] = query
        self._waiting: dict[int, dict[UUID, asyncio.Future[R | None]]] = {}
        self._running: dict[int, asyncio.Task[None]] = {}

    async def get(self, ledger_id: int, row_id: UUID) -> R | None:
        """Return the row, None if the ledger has none of this id. Raises StorageError."""
        waiting = self._waiting.setdefault(ledger_id, {})
        answer = waiting.get(row_id)
        if answer is None:
            answer = waiting[row_id] = asyncio.get_running_loop().create_future()
        if ledger_id not in self._running:
            self._running[ledger_id] = asyncio.create_task(self._run(ledger_id))
        return await asyncio.shield(answer)

    async def _run(self, ledger_id: int) -> None:
        try:
            while wanted := self._waiting.pop(ledger_id, None):
                await self._answer(ledger_id, wanted)
        finally:
            del self._running[ledger_id]

    async def _answer(self, ledger_id: int, wanted: dict[UUID, asyncio.Future[R | None]]) -> None:
        try:
            rows = await self._reader(lambda session: self._query(session, ledger_id, list(wanted)))
        except Exception as error:  # noqa: BLE001 - every caller is told
            for answer in wanted.values():
                answer.set_exception(error)
                answer.exception()  # marks it as seen: the caller may have gone away
            return
        found = {row.id: row for row in rows}
        for row_id, answer in wanted.items():
            answer.set_result(found.get(row_id))
