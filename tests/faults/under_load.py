"""Something that happens to the service in the middle of its work."""

import asyncio
from collections.abc import Callable, Sequence

from tests.support.journal import Journal
from tests.support.orders import AnyOrder
from tests.support.other_session import wait_until
from tests.support.socket_client import Client

CALLERS = 48


async def strike_under_load(
    client: Client, journal: Journal, orders: Sequence[AnyOrder], strike: Callable[[], None], *, after: int
) -> None:
    """Post ``orders``, many at a time, and ``strike`` when more than ``after`` requests were decided."""
    async with asyncio.TaskGroup() as group:
        group.create_task(journal.post_all([client], orders, concurrency=CALLERS))
        await wait_until(lambda: journal.decided_count > after)
        strike()
