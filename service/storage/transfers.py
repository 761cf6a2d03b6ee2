"""Named queries on transfers."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, bindparam, or_, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from service.domain import transfers as domain
from service.domain.identifiers import first_identifier
from service.storage.lists import ENTRIES_SCANNED_MAX, LIMIT, ScanEnd, Slices, merged, only, sifted, slices
from service.storage.models import SCHEMA, Account, Transfer
from service.storage.statements import FIND_TRANSFERS, TRANSFER_COLUMNS

Side = Literal["debit", "credit"]
SIDES: tuple[Side, ...] = ("debit", "credit")

_TRANSFERS = Transfer.__table__.c
_FACTS = [_TRANSFERS[name] for name in TRANSFER_COLUMNS]
_FIELDS = len(_FACTS)

# ``metadata`` is SQLAlchemy's own name on a mapped class.
_ATTRIBUTES = {name: "metadata_" if name == "metadata" else name for name in TRANSFER_COLUMNS}


def as_fact(transfer: Transfer) -> domain.Transfer:
    """Return the transfer that a mapped object stands for."""
    return domain.Transfer(**{name: getattr(transfer, attribute) for name, attribute in _ATTRIBUTES.items()})


class TransferRepository:
    """Reads transfers on the session of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_ids(self, ledger_id: int, transfer_ids: Sequence[UUID]) -> Sequence[domain.Transfer]:
        """Return the transfers that exist of ``transfer_ids``, in the order of their ids. Not as mapped objects, as for
        accounts.
        """
        rows = await self._session.execute(FIND_TRANSFERS, {"ledger_id": ledger_id, "ids": list(transfer_ids)})
        return [domain.Transfer(**row._asdict()) for row in rows]

    async def with_accounts(self, ledger_id: int, transfer_id: UUID) -> Transfer | None:
        """Return one transfer with both of its accounts."""
        accounts = [joinedload(Transfer.debit_account), joinedload(Transfer.credit_account)]
        return await self._session.get(Transfer, (ledger_id, transfer_id), options=accounts)

    async def page(
        self,
        ledger_id: int,
        *,
        limit: int,
        before: UUID | None,
        reference: str | None = None,
        hold_id: UUID | None = None,
        reverses_id: UUID | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
    ) -> Slices[domain.Transfer | ScanEnd]:
        """Yield, in slices, up to ``limit`` transfers created in [created_from, created_to), newest first, older than
        ``before``.

        A reference beside a hold or a reversed transfer (at most one of these) is looked for among the next
        ENTRIES_SCANNED_MAX of its captures or reversals; a ScanEnd then says where the next page continues.
        """
        given = _given(reference=reference, hold_id=hold_id, reverses_id=reverses_id)
        times = _given(before=before, **_as_identifiers(created_from, created_to))
        query = _page(frozenset(given), frozenset(times))
        async for rows in slices(self._session, query, {"ledger_id": ledger_id, "limit": limit, **given, **times}):
            yield _facts(rows)

    async def page_of_account(
        self,
        ledger_id: int,
        account_id: UUID,
        *,
        limit: int,
        before_version: int | None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
    ) -> Slices[domain.Transfer]:
        """Yield, in slices, up to ``limit`` transfers of one account, in falling order of the account's own version.

        Each side is read from its own index in that order, so the cost does not grow with the history. Times are turned
        into versions first: both rise along an account.
        """
        times = _as_identifiers(created_from, created_to)
        if "end_id" in times:
            before_version = await self._version_at(ledger_id, account_id, times["end_id"], before_version)
        since_version = None
        if "first_id" in times:
            since_version = await self._version_at(ledger_id, account_id, times["first_id"], before_version)
        versions = _given(before_version=before_version, since_version=since_version)
        parameters = {"ledger_id": ledger_id, "account_id": account_id, "limit": limit, **versions}
        async for rows in slices(self._session, _page_of_account(SIDES, frozenset(versions)), parameters):
            yield _facts(rows)

    async def page_of_account_and_reference(
        self,
        ledger_id: int,
        account_id: UUID,
        reference: str,
        *,
        limit: int,
        before: UUID | None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
    ) -> Slices[domain.Transfer | ScanEnd]:
        """Yield, in slices, up to ``limit`` transfers of one account that have ``reference``, as ``page`` does.

        A history that one page can look through is; in a longer one, the account is looked for among the transfers
        that have the reference, the next ENTRIES_SCANNED_MAX of them.
        """
        latest = await self._session.scalar(_LATEST_VERSION, {"ledger_id": ledger_id, "account_id": account_id})
        times = _given(before=before, **_as_identifiers(created_from, created_to))
        query = _account_and_reference(frozenset(times), is_short=latest < ENTRIES_SCANNED_MAX)
        parameters = {"ledger_id": ledger_id, "account_id": account_id, "reference": reference, "limit": limit, **times}
        async for rows in slices(self._session, query, parameters):
            yield _facts(rows)

    async def page_of_account_reference(
        self, ledger_id: int, side: Side, account_reference: str, *, limit: int, before_version: int | None
    ) -> Slices[domain.Transfer]:
        """Yield, in slices, up to ``limit`` transfers whose account on ``side`` has this reference, in falling order of
        the account's own version.
        """
        accounts = select(Account.id).where(Account.ledger_id == ledger_id, Account.reference == account_reference)
        account_id = await self._session.scalar(accounts)
        if account_id is None:
            return
        versions = _given(before_version=before_version)
        parameters = {"ledger_id": ledger_id, "account_id": account_id, "limit": limit, **versions}
        async for rows in slices(self._session, _page_of_account((side,), frozenset(versions)), parameters):
            yield _facts(rows)

    async def _version_at(self, ledger_id: int, account_id: UUID, at: UUID, before_version: int | None) -> int:
        """Return the account's version from which on, up to ``before_version``, its transfers are not older than the
        identifier ``at``.
        """
        parameters = {"ledger_id": ledger_id, "account_id": account_id, "at": at, "before_version": before_version}
        return int((await self._session.scalars(_VERSION_AT, parameters)).one())


def _given(**filters: Any) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if value is not None}


def _as_identifiers(created_from: datetime | None, created_to: datetime | None) -> dict[str, UUID]:
    """Return the bounds of [created_from, created_to), as far as they are given, as bounds of identifiers."""
    return _given(
        first_id=created_from and first_identifier(created_from), end_id=created_to and first_identifier(created_to)
    )


def _facts(rows: Sequence[Any]) -> list[Any]:
    """Return the transfers in ``rows``, and where the scan ended if it did (``lists.sifted``)."""
    if not rows or len(rows[0]) == _FIELDS:
        return [domain.Transfer(**row._asdict()) for row in rows]
    found: list[domain.Transfer | ScanEnd] = []
    for row in rows:
        if row.matches:
            found.append(domain.Transfer(**dict(zip(TRANSFER_COLUMNS, row, strict=False))))
        if row.place == ENTRIES_SCANNED_MAX:
            found.append(ScanEnd(row.id))
    return found


def _parameter(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return bindparam(name, type_=column.type)


_LEDGER = _TRANSFERS.ledger_id == bindparam("ledger_id", type_=Integer)
_ACCOUNT = bindparam("account_id", type_=_TRANSFERS.id.type)


def _within(row: Any, times: frozenset[str]) -> list[ColumnElement[bool]]:
    """Return the conditions on identifiers that ``times`` stand for: identifiers rise with time."""
    conditions = {
        "before": row.id < _parameter("before", row.id),
        "first_id": row.id >= _parameter("first_id", row.id),
        "end_id": row.id < _parameter("end_id", row.id),
    }
    return [condition for name, condition in conditions.items() if name in times]


_LATEST = "coalesce(greatest({}), 0)".format(
    ", ".join(
        f"(SELECT max({side}_account_version) FROM {SCHEMA}.transfers"  # noqa: S608 - names are this module's own
        f" WHERE ledger_id = :ledger_id AND {side}_account_id = :account_id)"
        for side in SIDES
    )
)
_LATEST_VERSION = text(f"SELECT {_LATEST}")

_PROBES = [
    f"""(SELECT {side}_account_version AS version, id
         FROM {SCHEMA}.transfers
         WHERE ledger_id = :ledger_id AND {side}_account_id = :account_id AND {side}_account_version >= middle
         ORDER BY {side}_account_version
         LIMIT 1)"""  # noqa: S608
    for side in SIDES
]

# A binary search along the account's versions, in the statement's indexes. Between low and high lies the version asked
# for; what is looked at is the first transfer from the middle on, for a version may be that of a hold.
_VERSION_AT = text(f"""
    WITH RECURSIVE search (low, high) AS (
        SELECT 1::bigint, coalesce(CAST(:before_version AS bigint), {_LATEST} + 1)
        UNION ALL
        SELECT CASE WHEN probe.id < :at THEN probe.version + 1 ELSE search.low END,
               CASE WHEN probe.id < :at THEN search.high ELSE middle END
        FROM search
        CROSS JOIN LATERAL (SELECT (search.low + search.high) / 2 AS middle) AS half
        LEFT JOIN LATERAL (
            SELECT version, id
            FROM ({" UNION ALL ".join(_PROBES)}) AS sides
            ORDER BY version
            LIMIT 1
        ) AS probe ON true
        WHERE search.low < search.high
    )
    SELECT low FROM search WHERE low >= high
""")  # noqa: S608 - names are this module's own

# Statements are put together once for each set of filters: that takes longer (3 ms) than to run one.


@cache
def _page(filters: frozenset[str], times: frozenset[str]) -> Select[Any]:
    """Return the query of ``page`` with these ``filters`` and bounds in time."""
    query = select(*_FACTS).where(_LEDGER, *_within(_TRANSFERS, times)).order_by(_TRANSFERS.id.desc())
    for name in sorted(filters, key="reference".__eq__)[:1]:  # a hold or a reversed transfer first
        query = query.where(only(_TRANSFERS[name], _parameter(name, _TRANSFERS[name])))
    if len(filters) > 1:
        return sifted(query, lambda row: row.c.reference == _parameter("reference", row.c.reference))
    return query.limit(LIMIT)


def _walk(side: Side, versions: frozenset[str]) -> Select[Any]:
    """Return the transfers of an account on ``side``, in falling order of the account's version, between versions."""
    version = _TRANSFERS[f"{side}_account_version"]
    conditions = {
        "before_version": version < bindparam("before_version", type_=BigInteger),
        "since_version": version >= bindparam("since_version", type_=BigInteger),
    }
    return (
        select(*_FACTS, version.label("version"))
        .where(
            _LEDGER,
            _TRANSFERS[f"{side}_account_id"] == _ACCOUNT,
            *(condition for name, condition in conditions.items() if name in versions),
        )
        .order_by(version.desc())
    )


@cache
def _page_of_account(sides: tuple[Side, ...], versions: frozenset[str]) -> Select[Any]:
    both = merged([_walk(side, versions) for side in sides], ["version"]).subquery()
    return select(*(both.c[name] for name in TRANSFER_COLUMNS)).order_by(both.c.version.desc())


@cache
def _account_and_reference(times: frozenset[str], *, is_short: bool) -> Select[Any]:
    """Return the query of ``page_of_account_and_reference``, for an account whose history is short or not."""
    reference = _parameter("reference", _TRANSFERS.reference)
    if is_short:
        walks = [_walk(side, frozenset()).limit(ENTRIES_SCANNED_MAX).subquery() for side in SIDES]
        row = union_all(*(select(*(walk.c[name] for name in TRANSFER_COLUMNS)) for walk in walks)).subquery()
        conditions = [row.c.reference == reference, *_within(row.c, times)]
        return select(row).where(*conditions).order_by(row.c.id.desc()).limit(LIMIT)
    scan = (
        select(*_FACTS)
        .where(_LEDGER, *_within(_TRANSFERS, times), only(_TRANSFERS.reference, reference))
        .order_by(_TRANSFERS.id.desc())
    )
    return sifted(scan, lambda row: or_(row.c.debit_account_id == _ACCOUNT, row.c.credit_account_id == _ACCOUNT))
