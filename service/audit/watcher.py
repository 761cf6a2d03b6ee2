"""Waiting until something happens in a ledger, without LISTEN: this works behind PgBouncer and on a replica."""

import asyncio
from datetime import datetime

from service.storage.nodes import AllLedgers, Part
from service.storage.repositories import Repositories
from service.storage.transactions import Reader

LOOK_INTERVAL_SECONDS = 0.1


class HeadWatcher:
    """Wakes those who wait for a ledger when its head moves. A PeriodicWorker calls ``look`` every
    LOOK_INTERVAL_SECONDS.

    One statement reads the heads of all ledgers that are waited for, and only while somebody waits. A look compares one
    time a ledger, and touches those who wait for it only when its head has moved. While the database does not answer,
    everyone waits until their own time is over; while a node is away, those who wait for its ledgers. Not for use by
    more than one event loop.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._ledgers = AllLedgers("head-watcher", reader)
        self._waiting: dict[int, dict[asyncio.Future[datetime], datetime]] = {}
        self._heads: dict[int, datetime] = {}  # as last looked at, of the ledgers that are waited for
        self._wanted = asyncio.Event()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether nobody can wait any longer."""
        return self._stopped

    async def wait_for_change(self, ledger_id: int, last_seen: datetime, timeout_seconds: float) -> datetime:
        """Return the ledger's head as soon as it lies after ``last_seen``; ``last_seen`` itself after
        ``timeout_seconds``, or when the watcher stops.
        """
        head = self._heads.get(ledger_id, last_seen)
        if head > last_seen or self._stopped:
            return head
        change: asyncio.Future[datetime] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(ledger_id, {})[change] = last_seen
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                return await change
        except TimeoutError:
            return last_seen
        finally:
            self._leave(ledger_id, change)

    async def look(self) -> None:
        """Wait until somebody waits; read the heads once, and wake whom they concern. Raises what the reader raises."""
        await self._wanted.wait()
        for heads in await self._ledgers.attend(self._read):
            for ledger_id, head in heads.items():
                self._note(ledger_id, head)

    async def _read(self, part: Part) -> dict[int, datetime]:
        waited_for = self._waiting.keys()
        ledger_ids = sorted(waited_for if part.ledger_ids is None else waited_for & set(part.ledger_ids))
        if not ledger_ids:
            return {}
        return await self._reader(lambda session: Repositories(session).heads.read_all(ledger_ids))

    def stop(self) -> None:
        """Let nobody wait any longer, now and from now on."""
        self._stopped = True
        for waiting in self._waiting.values():
            for change, last_seen in waiting.items():
                _tell(change, last_seen)

    def _note(self, ledger_id: int, head: datetime) -> None:
        waiting = self._waiting.get(ledger_id)
        known = self._heads.get(ledger_id)
        if waiting is None or (known is not None and head <= known):  # nobody waits with less than is known
            return
        self._heads[ledger_id] = head
        for change, last_seen in waiting.items():
            if head > last_seen:
                _tell(change, head)

    def _leave(self, ledger_id: int, change: asyncio.Future[datetime]) -> None:
        waiting = self._waiting[ledger_id]
        del waiting[change]
        if not waiting:
            del self._waiting[ledger_id]
            self._heads.pop(ledger_id, None)
        if not self._waiting:
            self._wanted.clear()


def _tell(change: asyncio.Future[datetime], head: datetime) -> None:
    if not change.done():  # whoever waits may have been woken, or have given up, and not run since
        change.set_result(head)
