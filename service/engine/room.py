"""Making room: what an expired hold still reserves stands in nobody's way, whether or not the sweeper came by.

That is asked only when something was refused for lack of room, or moved less, on an account on which holds reserve
some. What was decided is taken back then and decided again behind the expiry of these holds: a transaction locks
accounts before holds, so it cannot take more of both when it has begun.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.book import Answer
from service.domain.commands import ExpireHold
from service.domain.holds import Hold, HoldStatus
from service.engine.queue import Unit
from service.settings import Settings
from service.storage.errors import Failure, StorageError
from service.storage.holds import HoldRepository

T = TypeVar("T")


class HoldsInTheWayError(Exception):
    """Expired holds reserve some of what was missing; the transaction must be taken back."""

    def __init__(self, hold_ids: Sequence[UUID]) -> None:
        super().__init__("expired holds are in the way")
        self.hold_ids = hold_ids


async def check_room(
    session: AsyncSession,
    settings: Settings,
    ledger_id: int,
    short_of_room: Collection[UUID],
    *,
    known: Sequence[UUID],
) -> None:
    """Raise HoldsInTheWayError when accounts of ``short_of_room`` have expired holds which are not ``known``; it names
    ``settings.hold_sweep_holds_max`` at most, the oldest first.
    """
    if not short_of_room:
        return
    found = await HoldRepository(session).expired_of(
        ledger_id, short_of_room, known=known, limit=settings.hold_sweep_holds_max
    )
    if found:
        raise HoldsInTheWayError(found)


async def until_there_is_room(
    attempt: Callable[[Sequence[UUID], float], Awaitable[T]], *, deadline_seconds: float
) -> T:
    """Await ``attempt`` with all the holds that were found in its way so far (none at first), which it must expire
    before anything else, and the seconds that are left, until it finds no more of them.

    Raises StorageError (contention, nothing is applied) when there are still more after ``deadline_seconds``.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + deadline_seconds
    known: list[UUID] = []
    while (seconds_left := deadline - clock()) > 0:
        try:
            return await attempt(known, seconds_left)
        except HoldsInTheWayError as error:
            known += error.hold_ids
    raise StorageError(Failure.CONTENTION)


def still_held(answers: Iterable[Sequence[Answer]]) -> list[Hold]:
    """Return the holds that ``expiries`` could not free for now, by the ``answers`` to them, because an account is too
    far ahead of the clock: one for each two accounts, for as many as there are stand in the same way.
    """
    holds: dict[tuple[UUID, UUID], Hold] = {}
    for [answer] in answers:
        if isinstance(answer.outcome, Hold) and answer.outcome.status == HoldStatus.OPEN:
            holds[answer.outcome.debit_account_id, answer.outcome.credit_account_id] = answer.outcome
    return list(holds.values())


def expiries(hold_ids: Sequence[UUID]) -> list[Unit]:
    """Return the units that expire holds, each by itself."""
    return [[ExpireHold(hold_id=hold_id)] for hold_id in hold_ids]
