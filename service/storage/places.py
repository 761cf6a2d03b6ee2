"""Places: how many may do one kind of expensive work at a time, how many may wait, and how much is one client's."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

WAITING_MAX = 128
WAIT_SECONDS_MAX = 2.0


class NoPlaceError(Exception):
    """All places are taken and so is the room to wait for one; certainly nothing was done.

    ``own_share`` when it is the caller's own work that fills what one client may have.
    """

    def __init__(self, reason: str, *, own_share: bool) -> None:
        super().__init__(reason)
        self.own_share = own_share


class Places:
    """``count`` places, and ``waiting_max`` callers (WAITING_MAX) who wait for one for ``wait_seconds_max``
    (WAIT_SECONDS_MAX) at most.

    One client has ``share`` of the places at most (half of them, at least one), and half of the room to wait. Clients
    that wait take turns, and each one's callers come in order. Not for use by more than one event loop.
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
        """Hold a place for work of ``client``. Raises NoPlaceError."""
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
            raise NoPlaceError("all places for this kind of work are taken", own_share=False)
        queue = self._waiting.setdefault(client, deque())
        if len(queue) >= self._waiting_max // 2:
            raise NoPlaceError("this client has taken its share of the places for this kind of work", own_share=True)
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(called)
        self._waiting_count += 1
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await called
        except BaseException as error:
            if called.done() and not called.cancelled():
                self._give_back(client)  # it was called, but too late
            else:
                self._leave(client, called)
            if isinstance(error, TimeoutError):
                own_share = self._taken[client] >= self._share
                raise NoPlaceError("no place for this kind of work became free in time", own_share=own_share) from None
            raise

    def _leave(self, client: str, called: asyncio.Future[None]) -> None:
        queue = self._waiting[client]
        queue.remove(called)
        self._waiting_count -= 1
        if not queue:
            del self._waiting[client]

    def _call_next(self) -> None:
        """Give free places to those who wait: a client's first, then the next client's."""
        for client in list(self._waiting):
            if not self._free:
                return
            # One that is done has given up, and leaves when its task has its turn.
            called = next((one for one in self._waiting[client] if not one.done()), None)
            if called is not None and self._take(client):
                self._leave(client, called)
                called.set_result(None)
                if client in self._waiting:
                    self._waiting[client] = self._waiting.pop(client)  # behind the others
