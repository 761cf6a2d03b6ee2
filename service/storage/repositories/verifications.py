"""Named queries on what the verification of ledgers found."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ARRAY, Integer, and_, any_, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import insert

from service.domain.history import INSTALLATION, LoggedLedger
from service.domain.integrity import Freshness, Pass, Verification
from service.storage.database import Session
from service.storage.rows import LedgerRow, VerificationRow

_LEDGERS, _KEPT = LedgerRow.__table__.c, VerificationRow.__table__.c


class VerificationRepository:
    """Reads and keeps verifications on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def following(self, ledger_id: int | None) -> LoggedLedger | None:
        """Return the ledger whose turn comes after that of ``ledger_id``; the installation before all, None after the
        last.
        """
        if ledger_id is None:
            return INSTALLATION
        query = select(_LEDGERS.id, _LEDGERS.name).where(_LEDGERS.id > ledger_id).order_by(_LEDGERS.id).limit(1)
        row = (await self._session.execute(query)).first()
        return None if row is None else LoggedLedger(*row)

    async def of(self, ledger_id: int) -> Verification:
        """Return what is known of a ledger."""
        query = select(_KEPT.complete, _KEPT.running).where(_KEPT.ledger_id == ledger_id)
        row = (await self._session.execute(query)).first()
        return Verification() if row is None else Verification(*(_pass(one) for one in row))

    async def keep(self, ledger_id: int, verification: Verification) -> None:
        """Keep what is known of a ledger, in the place of what was known before."""
        complete, running = verification.complete, verification.running
        values = {
            "damaged": bool(verification.findings),
            "completed_at": None if complete is None else complete.ended_at,
            "complete": None if complete is None else msgspec.to_builtins(complete),
            "running": None if running is None else msgspec.to_builtins(running),
        }
        statement = insert(VerificationRow).values(ledger_id=ledger_id, **values)
        await self._session.execute(statement.on_conflict_do_update(index_elements=[_KEPT.ledger_id], set_=values))

    async def freshness(self, ledger_ids: Sequence[int] | None = None) -> Freshness:
        """Return what is known of all ledgers, and of the installation among them; or of those of ``ledger_ids``."""
        every = union_all(select(_LEDGERS.id), select(literal(INSTALLATION.id))).subquery()
        query = select(
            func.clock_timestamp(),
            func.array_agg(every.c.id).filter(_KEPT.damaged),
            func.min(_KEPT.completed_at),
            func.count().filter(_KEPT.completed_at.is_(None)),
        )
        is_kept = _KEPT.ledger_id == every.c.id
        if ledger_ids is not None:
            among = any_(literal(list(ledger_ids), ARRAY(Integer)))
            is_kept = and_(is_kept, _KEPT.ledger_id == among)
            query = query.where(every.c.id == among)
        query = query.select_from(every.outerjoin(VerificationRow.__table__, is_kept))
        as_of, damaged, oldest_at, unverified = (await self._session.execute(query)).one()
        return Freshness(as_of, frozenset(damaged or ()), oldest_at, unverified)


def _pass(document: dict[str, Any] | None) -> Pass | None:
    return None if document is None else msgspec.convert(document, Pass)
