"""Named queries on holds."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.holds import Hold
from service.storage import models
from service.storage.statements import HOLD_COLUMNS, READ_HOLDS

_HOLDS = models.Hold.__table__.c
_SELECT = select(*(_HOLDS[name] for name in HOLD_COLUMNS))
_SIDES = (_HOLDS.debit_account_id, _HOLDS.credit_account_id)


class HoldRepository:
    """Reads holds on the session of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_ids(self, ledger_id: int, hold_ids: Sequence[UUID]) -> Sequence[Hold]:
        """Return the holds that exist of ``hold_ids``, in no order."""
        return await self._holds(READ_HOLDS, {"ledger_id": ledger_id, "ids": list(hold_ids)})

    async def page(
        self,
        ledger_id: int,
        *,
        limit: int,
        before: UUID | None = None,
        account_id: UUID | None = None,
        status: str | None = None,
    ) -> Sequence[Hold]:
        """Return up to ``limit`` holds that match every filter given, newest first, older than ``before``.

        An account's holds are looked up on either side, each in its own index, in the order of the answer.
        """

        def narrowed(query: Select[Any]) -> Select[Any]:
            query = query.where(_HOLDS.ledger_id == ledger_id)
            if before is not None:
                query = query.where(_HOLDS.id < before)
            if status is not None:
                # Said in the text of the query: only then can the indexes of open holds serve it.
                query = query.where(_HOLDS.status == literal(status, literal_execute=True))
            return query.order_by(_HOLDS.id.desc()).limit(limit)

        if account_id is None:
            return await self._holds(narrowed(_SELECT))
        halves = [narrowed(select(_HOLDS.id).where(side == account_id)).subquery() for side in _SIDES]
        either = union_all(*(select(half.c.id) for half in halves)).subquery()
        return await self._holds(
            _SELECT.where(_HOLDS.ledger_id == ledger_id, _HOLDS.id.in_(select(either.c.id)))
            .order_by(_HOLDS.id.desc())
            .limit(limit)
        )

    async def expired(self, *, limit: int) -> list[tuple[int, UUID]]:
        """Return ledger and id of up to ``limit`` open holds past their time, the oldest first.

        Those that someone is settling are skipped: they meet their end without help.
        """
        query = (
            select(_HOLDS.ledger_id, _HOLDS.id)
            .where(
                _HOLDS.status == literal("open", literal_execute=True), _HOLDS.expires_at <= func.statement_timestamp()
            )
            .order_by(_HOLDS.expires_at)
            .limit(limit)
            .with_for_update(key_share=True, skip_locked=True)
        )
        return [(ledger_id, hold_id) for ledger_id, hold_id in await self._session.execute(query)]

    async def _holds(self, query: Select[Any], parameters: Mapping[str, Any] | None = None) -> Sequence[Hold]:
        return [Hold(**row._asdict()) for row in await self._session.execute(query, parameters)]
