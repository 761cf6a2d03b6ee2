"""Making room: an expired hold is never the reason for a rejection, whether or not the sweeper has freed it yet.

Expired holds are looked for only when a command was rejected for lack of room, or moved less than was asked for, on an
account of which open holds reserve some. The transaction is rolled back then, and decides again with the expiry of
these holds in front. It cannot expire them as it goes: accounts are locked before holds, and both before the decision.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import TypeVar
from uuid import UUID

from service.domain.commands import ExpireHold
from service.domain.decisions import CommandAnswer
from service.domain.executor import Group
from service.domain.holds import Hold, HoldStatus
from service.errors import Failure, HoldsInTheWayError, StorageError
from service.settings import Settings
from service.storage.database import Session
from service.storage.repositories import Repositories

T = TypeVar("T")


async def check_room(
    session: Session,
    settings: Settings,
    ledger_id: int,
    short_of_room: Collection[UUID],
    *,
    known: Sequence[UUID],
) -> None:
    """Raise HoldsInTheWayError when accounts of ``short_of_room`` have expired holds that are not ``known``. It names
    ``settings.hold_sweep_holds_max`` of them at most, the oldest first.
    """
    if not short_of_room:
        return
    found = await Repositories(session).holds.expired_of(
        ledger_id, short_of_room, known=known, limit=settings.hold_sweep_holds_max
    )
    if found:
        raise HoldsInTheWayError(found)


async def until_there_is_room(
    attempt: Callable[[Sequence[UUID], float], Awaitable[T]], *, deadline_seconds: float
) -> T:
    """Run ``attempt`` until it finds no more expired holds in its way, and return what it returns. It is given the
    holds that were found so far, which it expires before anything else, and the seconds that are left.

    Raises StorageError (contention) when there are still more after ``deadline_seconds``: no attempt was committed.
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


def expiries(hold_ids: Iterable[UUID], free: Collection[UUID] = ()) -> list[Group]:
    """Return groups that expire holds, one each, without those that are ``free``."""
    return [[ExpireHold(hold_id=hold_id)] for hold_id in hold_ids if hold_id not in free]


def freed(answers: Iterable[Sequence[CommandAnswer]]) -> list[UUID]:
    """Return the holds that reserve nothing any more, by the ``answers`` to ``expiries``: none of them is freed while
    the clock is behind.
    """
    holds = [answer.result for [answer] in answers if isinstance(answer.result, Hold)]
    return [hold.id for hold in holds if hold.status != HoldStatus.OPEN]
