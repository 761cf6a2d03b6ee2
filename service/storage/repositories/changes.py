"""Named queries for what was recorded between two times and changes what was known as of a value date before."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam

from service.domain.balances import EVER
from service.domain.identifiers import first_identifier
from service.domain.order import STEP
from service.domain.transfers import Transfer
from service.storage.database import Session
from service.storage.group_commit.statements import TRANSFER_COLUMNS
from service.storage.lists import ENTRIES_SCANNED_MAX, ListOrder, ScanEnd, Slices, matching, merged, sifted, slices
from service.storage.rows import TransferRow
from service.storage.transfer_walks import SIDES, transfers_by_id, transfers_of_side, versions_at

_TRANSFERS = TransferRow.__table__.c
_LAST_ID = UUID(int=2**128 - 1)


class ChangeRepository:
    """Reads changes on the session of one unit of work.

    What was recorded by the value date that is asked about is read in the order in which it was recorded; of what was
    recorded later, what was dated apart is, from the indexes of that alone.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def page_of_ledger(
        self,
        ledger_id: int,
        *,
        as_of: datetime,
        known_from: datetime,
        known_to: datetime | None,
        limit: int,
        order: ListOrder,
        after: UUID | None,
    ) -> Slices[Transfer | ScanEnd]:
        """Yield, in slices, up to ``limit`` transfers of a ledger that are dated ``as_of`` or before and were recorded
        after ``known_from``, up to ``known_to``, in ``order`` of their identifiers, behind the one called ``after``.

        The next ENTRIES_SCANNED_MAX of those that may be are looked at; a ScanEnd then says where the next page
        continues.
        """
        low, middle, high = _bounds(as_of, known_from, known_to, order, after)
        parameters = {
            "ledger_id": ledger_id,
            "as_of": as_of,
            "low_id": low,
            "middle_id": middle,
            "high_id": high,
            "limit": limit,
        }
        async for rows in slices(self._session, _page_of_ledger(order), parameters):
            yield _facts(rows)

    async def page_of_account(
        self,
        ledger_id: int,
        account_id: UUID,
        *,
        as_of: datetime,
        known_from: datetime,
        known_to: datetime | None,
        limit: int,
        order: ListOrder,
        after: UUID | None,
    ) -> Slices[Transfer | ScanEnd]:
        """Yield, in slices, what ``page_of_ledger`` does of one account."""
        low, middle, high = _bounds(as_of, known_from, known_to, order, after)
        versions = [0, 0]
        if low < middle:
            versions[:] = await versions_at(self._session, ledger_id, account_id, [low, middle])
        parameters = {
            "ledger_id": ledger_id,
            "walked_id": account_id,
            "as_of": as_of,
            "low_version": versions[0],
            "high_version": versions[1],
            "middle_id": middle,
            "high_id": high,
            "limit": limit,
        }
        async for rows in slices(self._session, _page_of_account(order), parameters):
            yield _facts(rows)


def _bounds(
    as_of: datetime, known_from: datetime, known_to: datetime | None, order: ListOrder, after: UUID | None
) -> tuple[UUID, UUID, UUID]:
    """Return three identifiers: what is looked at lies from the first to before the last, and behind the middle one
    all of it was recorded after ``as_of``.
    """
    low, high = _behind(known_from), _LAST_ID if known_to is None else _behind(known_to)
    if after is not None:
        low, high = (low, min(high, after)) if order == "desc" else (max(low, _next(after)), high)
    return low, min(max(low, _behind(as_of)), max(low, high)), high


def _behind(time: datetime) -> UUID:
    """Return the identifier behind all that was recorded by ``time``."""
    return _LAST_ID if time >= EVER else first_identifier(time + STEP)


def _next(named: UUID) -> UUID:
    return UUID(int=min(named.int + 1, _LAST_ID.int))


def _facts(rows: Sequence[Any]) -> list[Transfer | ScanEnd]:
    return matching(rows, _transfer, lambda transfer: transfer.id)


def _transfer(row: Any) -> Transfer:
    return Transfer(**{name: getattr(row, name) for name in TRANSFER_COLUMNS})


_AS_OF = bindparam("as_of", type_=_TRANSFERS.effective_at.type)
_APART = _TRANSFERS.effective_at != _TRANSFERS.created_at
_COLUMNS = [_TRANSFERS[name] for name in TRANSFER_COLUMNS]


@cache
def _page_of_ledger(order: ListOrder) -> Select[Any]:
    return _page(
        [
            transfers_by_id(order, low="low_id", high="middle_id"),
            transfers_by_id(order, _APART, low="middle_id", high="high_id"),
        ],
        order,
    )


@cache
def _page_of_account(order: ListOrder) -> Select[Any]:
    account = bindparam("walked_id", type_=_TRANSFERS.id.type)
    sides = [_TRANSFERS[f"{side}_account_id"] == account for side in SIDES]
    return _page(
        [
            *(transfers_of_side(side, order).with_only_columns(*_COLUMNS) for side in SIDES),
            *(transfers_by_id(order, _APART, side, low="middle_id", high="high_id") for side in sides),
        ],
        order,
    )


def _page(branches: Sequence[Select[Any]], order: ListOrder) -> Select[Any]:
    scan = merged(branches, ["id"], order, limit=ENTRIES_SCANNED_MAX)
    return sifted(scan, lambda row: row.c.effective_at <= _AS_OF, order)
