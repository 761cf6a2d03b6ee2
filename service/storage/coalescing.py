"""Reads of single rows, gathered: those that arrive while a query runs share the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.accounts import AccountDetails
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from service.storage.retry import Reader

R = TypeVar("R", bound=AccountDetails | Transfer | Hold)

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
        self._waiting: dict[int, dict[UUID, list[asyncio.Future[R | None]]]] = {}
        self._running: dict[int, asyncio.Task[None]] = {}

    async def get(self, ledger_id: int, row_id: UUID) -> R | None:
        """Return the row, None if the ledger has none of this id. Raises StorageError."""
        answer: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(ledger_id, {}).setdefault(row_id, []).append(answer)
        if ledger_id not in self._running:
            self._running[ledger_id] = asyncio.create_task(self._run(ledger_id))
        return await answer

    async def _run(self, ledger_id: int) -> None:
        try:
            while wanted := self._waiting.pop(ledger_id, None):
                await self._answer(ledger_id, wanted)
                await asyncio.sleep(0)  # whoever is at the door may join the next query
        finally:
            del self._running[ledger_id]

    async def _answer(self, ledger_id: int, wanted: dict[UUID, list[asyncio.Future[R | None]]]) -> None:
        try:
            rows = await self._reader(lambda session: self._query(session, ledger_id, list(wanted)))
        except Exception as error:  # noqa: BLE001 - every caller is told
            for answer in chain.from_iterable(wanted.values()):
                if not answer.done():  # its caller has gone away
                    answer.set_exception(error)
            return
        found = {row.id: row for row in rows}
        for row_id, answers in wanted.items():
            row = found.get(row_id)
            for answer in answers:
                if not answer.done():
                    answer.set_result(row)
