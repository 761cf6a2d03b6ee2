"""Slots: how many callers do one kind of expensive work at a time, how many may wait, and the share of one client."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import NoSlotError

WAITING_MAX = 128
WAIT_SECONDS_MAX = 2.0


class Slots:
    """``count`` slots for one kind of work. At most ``waiting_max`` callers (WAITING_MAX) wait for one, each for
    ``wait_seconds_max`` (WAIT_SECONDS_MAX) at most.

    One client takes ``share`` of the slots at most (by default half of them, at least one), and its callers take half
    of ``waiting_max``. The waiting clients get free slots in turn, and the callers of one client in their order of
    arrival. Not for use by more than one event loop.
    """

    def __init__(
        self,
        count: int,
        *,
        share: int | None = None,
        waiting_max: int | None = None,
        wait_seconds_max: float | None = None,
    ) -> None:
        self._free = count
        self._share = max(1, count // 2) if share is None else share
        self._waiting_max = WAITING_MAX if waiting_max is None else waiting_max
        self._wait_seconds_max = WAIT_SECONDS_MAX if wait_seconds_max is None else wait_seconds_max
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._waiting_count = 0

    @asynccontextmanager
    async def taken(self, client: str) -> AsyncIterator[None]:
        """Hold a slot for work of ``client`` while the context lasts. Raises NoSlotError."""
        if not self._take(client):
            await self._wait(client)
        try:
            yield
        finally:
            self._give_back(client)

    def _take(self, client: str) -> bool:
        if not self._free or self._taken[client] >= self._share:
            return False
        self._free -= 1
        self._taken[client] += 1
        return True

    def _give_back(self, client: str) -> None:
        self._free += 1
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
        self._call_next()

    async def _wait(self, client: str) -> None:
        if self._waiting_count >= self._waiting_max:
            own_share = self._taken[client] >= self._share
            raise NoSlotError("all places for this kind of work are taken", own_share=own_share)
        queue = self._waiting.setdefault(client, deque())
        if len(queue) >= self._waiting_max // 2:
            raise NoSlotError("this client has taken its share of the places for this kind of work", own_share=True)
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(called)
        self._waiting_count += 1
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await called
        except BaseException as error:
            if called.done() and not called.cancelled():
                self._give_back(client)  # this caller got a slot at the moment when it gave up
            else:
                self._leave(client, called)
            if isinstance(error, TimeoutError):
                own_share = self._taken[client] >= self._share
                raise NoSlotError("no place for this kind of work became free in time", own_share=own_share) from None
            raise

    def _leave(self, client: str, called: asyncio.Future[None]) -> None:
        queue = self._waiting[client]
        queue.remove(called)
        self._waiting_count -= 1
        if not queue:
            del self._waiting[client]

    def _call_next(self) -> None:
        """Give the free slots to waiting callers: the first caller of each client, one client after the other."""
        for client in list(self._waiting):
            if not self._free:
                return
            # A future that is done belongs to a caller that gave up; its task removes it when it runs next.
            called = next((one for one in self._waiting[client] if not one.done()), None)
            if called is not None and self._take(client):
                self._leave(client, called)
                called.set_result(None)
                if client in self._waiting:
                    self._waiting[client] = self._waiting.pop(client)  # moved behind the other clients
