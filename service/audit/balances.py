"""Balances of accounts at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

from msgspec import Struct

from service.domain.balances import BalanceAt, Viewpoint
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.repositories.heads import Head


class Times(Struct, frozen=True):
    """The two times that are asked for, resolved: value dates up to ``as_of``, and what was recorded by ``known_at``.

    ``known_at`` never lies behind the ledger's last place, where nothing was recorded yet and anything still may be: so
    what is answered of these times is answered again whenever they are asked for. ``is_ahead`` is true of a time asked
    for that lies in the future; ``is_reached`` is false where what was read does not hold everything up to it.
    """

    as_of: datetime
    known_at: datetime
    is_ahead: bool
    is_reached: bool

    @classmethod
    def of(cls, head: Head, *, as_of: datetime | None, known_at: datetime | None) -> Self:
        """Return the times of a ledger with this ``head``; each is now where it is not given."""
        now = max(head.clock, head.last_at)
        return cls(
            as_of=now if as_of is None else as_of,
            known_at=head.last_at if known_at is None else min(known_at, head.last_at),
            is_ahead=known_at is not None and known_at > now,
            is_reached=known_at is None or known_at <= head.last_at,
        )


class BalancesAt(Struct, frozen=True):
    """The balances of accounts at ``times``, by account: those that the ledger has."""

    times: Times
    balances: dict[UUID, BalanceAt]


async def read_balances(
    session: Session,
    ledger_id: int,
    account_ids: Sequence[UUID],
    *,
    as_of: datetime | None,
    known_at: datetime | None,
) -> BalancesAt:
    """Return the balances of those accounts that exist of ``account_ids``, each id once, at one time for all."""
    repositories = Repositories(session)
    times = Times.of(await repositories.heads.look(ledger_id), as_of=as_of, known_at=known_at)
    if times.is_ahead:
        return BalancesAt(times, {})
    viewpoint = Viewpoint.at(times.as_of, times.known_at)
    held = {one.account_id: one for one in await repositories.balances.held(ledger_id, account_ids, viewpoint)}
    posted = await repositories.balances.posted(ledger_id, account_ids, viewpoint)
    return BalancesAt(times, {one.account_id: BalanceAt(one, held[one.account_id]) for one in posted})
