"""Named queries on holds."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Integer, Select, all_, any_, bindparam, func, literal, or_, select

from service.domain.holds import Hold
from service.storage.database import Session
from service.storage.group_commit.pipeline import is_distributed
from service.storage.group_commit.statements import FIND_HOLDS, HOLD_COLUMNS, LOCK_FREE_HOLDS
from service.storage.lists import LIMIT, ListOrder, Slices, behind, merged, only, ordered, slices
from service.storage.rows import UUIDS, HoldRow

_HOLDS = HoldRow.__table__.c
_SELECT = select(*(_HOLDS[name] for name in HOLD_COLUMNS))
_SIDES = (_HOLDS.debit_account_id, _HOLDS.credit_account_id)
_STATUSES = [literal(status) for status in ("open", "captured", "voided", "expired")]


class HoldRepository:
    """Reads holds on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def by_ids(self, ledger_id: int, hold_ids: Sequence[UUID]) -> Sequence[Hold]:
        """Return the holds that exist of ``hold_ids``, in no order."""
        rows = await self._session.execute(FIND_HOLDS, {"ledger_id": ledger_id, "ids": list(hold_ids)})
        return [Hold(**row._asdict()) for row in rows]

    async def page(
        self,
        ledger_id: int,
        *,
        limit: int,
        order: ListOrder,
        after: UUID | None = None,
        account_id: UUID | None = None,
        status: str | None = None,
    ) -> Slices[Hold]:
        """Yield, in slices, up to ``limit`` holds that match every filter given, in ``order`` of their ids, after the
        one called ``after``.

        An account's holds are looked up on either side and by status, each in its own index in the order of the answer.
        """
        filters = {"after": after, "account_id": account_id, "status": status}
        given = {name: value for name, value in filters.items() if value is not None}
        parameters = {"ledger_id": ledger_id, "limit": limit, **given}
        async for rows in slices(self._session, _page(frozenset(given), order), parameters):
            yield [Hold(**row._asdict()) for row in rows]

    async def expired(self, *, limit: int, ledger_ids: Sequence[int] | None = None) -> list[tuple[int, UUID]]:
        """Return ledger and id of up to ``limit`` open holds past their time, the oldest first: of all ledgers, or of
        those of ``ledger_ids``.
        """
        query = (
            select(_HOLDS.ledger_id, _HOLDS.id)
            .where(
                _HOLDS.status == literal("open", literal_execute=True), _HOLDS.expires_at <= func.statement_timestamp()
            )
            .order_by(_HOLDS.expires_at)
            .limit(limit)
        )
        if ledger_ids is not None:
            query = query.where(_HOLDS.ledger_id == any_(literal(list(ledger_ids), ARRAY(Integer))))
        return [(ledger_id, hold_id) for ledger_id, hold_id in await self._session.execute(query)]

    async def untouched(self, ledger_id: int, hold_ids: Sequence[UUID]) -> list[UUID]:
        """Lock ``hold_ids``, and return those that are open, in the order of their ids. Those that another transaction
        locks are skipped, because it may be ending them.
        """
        found = await self._session.execute(LOCK_FREE_HOLDS, {"ledger_id": ledger_id, "ids": list(hold_ids)})
        return [hold_id for hold_id, status in found if status == "open"]

    async def expired_of(
        self, ledger_id: int, account_ids: Iterable[UUID], *, known: Sequence[UUID], limit: int
    ) -> list[UUID]:
        """Return the ids of up to ``limit`` open holds past their time that have one of ``account_ids`` on either side,
        the oldest first, without those in ``known``. Nothing is locked.

        Of all open holds, those past their time are few (the sweeper sees to it); an account's, or a ledger's, may be
        many. OFFSET parts the query, so that the index of expiry is all that can serve it, whatever the planner knows.
        Where tables are distributed, the part must name its ledger, or the nodes of all others are asked as well.
        """
        past = select(_HOLDS.ledger_id, _HOLDS.id, *_SIDES).where(
            _HOLDS.status == literal("open", literal_execute=True),
            _HOLDS.expires_at <= func.statement_timestamp(),
        )
        if await is_distributed(self._session):
            past = past.where(_HOLDS.ledger_id == ledger_id)
        expired = past.order_by(_HOLDS.expires_at).offset(0).subquery()
        accounts = literal(list(account_ids), UUIDS)
        query = (
            select(expired.c.id)
            .where(
                expired.c.ledger_id == ledger_id,
                or_(expired.c.debit_account_id == any_(accounts), expired.c.credit_account_id == any_(accounts)),
                expired.c.id != all_(literal(list(known), UUIDS)),
            )
            .limit(limit)
        )
        return list(await self._session.scalars(query))


@cache
def _page(filters: frozenset[str], order: ListOrder) -> Select[Any]:
    """Return the query of ``HoldRepository.page`` with these ``filters``, in ``order``."""

    def parameter(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return bindparam(name, type_=column.type)

    query = _SELECT.where(_HOLDS.ledger_id == bindparam("ledger_id", type_=Integer)).order_by(ordered(_HOLDS.id, order))
    if "after" in filters:
        query = query.where(behind(_HOLDS.id, parameter("after", _HOLDS.id), order))
    if filters.isdisjoint({"account_id", "status"}):
        return query.limit(LIMIT)
    status = parameter("status", _HOLDS.status)
    branches = [query.where(only(_HOLDS.status, one)) for one in ([status] if "status" in filters else _STATUSES)]
    if "account_id" in filters:
        account = parameter("account_id", _HOLDS.id)
        branches = [branch.where(only(side, account)) for branch in branches for side in _SIDES]
    return merged(branches, ["id"], order)
