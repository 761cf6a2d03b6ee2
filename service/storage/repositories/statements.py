"""Named queries for statements of accounts: transfers of one account, in either order of them."""

from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, bindparam, or_, select

from service.domain.balances import Viewpoint
from service.domain.identifiers import first_identifier
from service.domain.transfers import Transfer
from service.storage.database import Session
from service.storage.group_commit.statements import TRANSFER_COLUMNS
from service.storage.lists import Slices, merged, slices
from service.storage.rows import TransferRow
from service.storage.transfer_walks import SIDES, Side, transfers_of_side, transfers_page, versions_at

_TRANSFERS = TransferRow.__table__.c


class StatementRepository:
    """Reads the lines of statements on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def recorded(
        self, ledger_id: int, account_id: UUID, *, start: UUID, end: UUID, limit: int
    ) -> Slices[Transfer]:
        """Yield, in slices, the first ``limit`` transfers of one account whose identifiers lie in [start, end), in the
        order of the account's version.
        """
        parameters = await self._walk(ledger_id, account_id, start, end) | {"limit": limit}
        async for rows in slices(self._session, transfers_page("account", "asc", is_sifted=False), parameters):
            yield [Transfer(**row._asdict()) for row in rows]

    async def value_dated(
        self, ledger_id: int, account_id: UUID, *, viewpoint: Viewpoint, dated_to: datetime, limit: int
    ) -> Slices[Transfer]:
        """Yield, in slices, the first ``limit`` transfers of one account that lie behind ``viewpoint`` in the order of
        value dates and identifiers, are dated before ``dated_to``, and were recorded before the viewpoint's end.

        What was not dated apart is read in the order of versions, which is the same for it, and what was from its own
        index.
        """
        end = min(viewpoint.end, first_identifier(dated_to))
        parameters = await self._walk(ledger_id, account_id, viewpoint.base, end) | {
            "as_of": viewpoint.as_of,
            "through": viewpoint.through,
            "dated_to": dated_to,
            "end": viewpoint.end,
            "limit": limit,
        }
        async for rows in slices(self._session, _value_dated(), parameters):
            yield [Transfer(**row._asdict()) for row in rows]

    async def _walk(self, ledger_id: int, account_id: UUID, start: UUID, end: UUID) -> dict[str, Any]:
        """Return the parameters of a walk along an account's versions, from one identifier to before another."""
        low, high = await versions_at(self._session, ledger_id, account_id, [start, end])
        return {"ledger_id": ledger_id, "walked_id": account_id, "low_version": low, "high_version": high}


@cache
def _value_dated() -> Select[Any]:
    """Return the query of ``value_dated``."""
    recorded = (
        transfers_of_side(side, "asc").where(_TRANSFERS.effective_at == _TRANSFERS.created_at) for side in SIDES
    )
    page = merged([*recorded, *map(_dated_apart, SIDES)], ["effective_at", "id"], "asc").subquery()
    return select(*(page.c[name] for name in TRANSFER_COLUMNS)).order_by(page.c.effective_at, page.c.id)


def _dated_apart(side: Side) -> Select[Any]:
    """Return the transfers of an account on ``side`` that were dated apart, in the order of value dates."""
    dated, as_of = _TRANSFERS.effective_at, _parameter("as_of", _TRANSFERS.effective_at)
    return (
        select(*(_TRANSFERS[name] for name in TRANSFER_COLUMNS), _TRANSFERS[f"{side}_account_version"].label("version"))
        .where(
            _TRANSFERS.ledger_id == bindparam("ledger_id", type_=Integer),
            _TRANSFERS[f"{side}_account_id"] == _parameter("walked_id", _TRANSFERS.id),
            dated != _TRANSFERS.created_at,
            dated >= as_of,
            or_(dated > as_of, _TRANSFERS.id > _parameter("through", _TRANSFERS.id)),
            dated < _parameter("dated_to", dated),
            _TRANSFERS.id < _parameter("end", _TRANSFERS.id),
        )
        .order_by(dated, _TRANSFERS.id)
    )


def _parameter(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return bindparam(name, type_=column.type)
