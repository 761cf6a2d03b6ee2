"""Callers of a committer, and a way to keep it busy while they wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service.domain.decisions import CommandAnswer
from service.domain.executor import Group
from service.posting.committer import Committer
from tests.support.commands import transfer
from tests.support.other_session import holding_account
from tests.support.rows import MAIN, add_accounts

Answers = asyncio.Task[list[list[CommandAnswer]]]
Start = Callable[..., Awaitable[Committer]]
"""Starts a committer with settings that differ from the usual by the arguments."""


def submit(committer: Committer, *group: Any, ledger_id: int = MAIN) -> Answers:
    """Submit one group in a task of its own."""
    groups: list[Group] = [list(group)]
    return asyncio.create_task(committer.submit(ledger_id, groups))


@asynccontextmanager
async def busy(committer: Committer, superuser: asyncpg.Connection, superuser_url: str) -> AsyncIterator[Answers]:
    """Keep ``committer``, which commits one batch at a time, busy with a batch that waits for a locked account."""
    a, b = await add_accounts(superuser, 2)
    async with holding_account(superuser_url, str(a)) as other_session:
        task = submit(committer, transfer(a, b))
        await other_session.wait_for_waiters(1)
        yield task


async def queued() -> None:
    """Let the tasks that were made until now put their submissions into the queue."""
    await asyncio.sleep(0)
