"""Named queries on transfers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar
from uuid import UUID

from sqlalchemy import BigInteger, Integer, Select, Text, bindparam, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased, contains_eager, joinedload

from service.domain import transfers as domain
from service.domain.identifiers import first_identifier
from service.storage.models import Account, Transfer
from service.storage.statements import READ_TRANSFERS, TRANSFER_COLUMNS

Side = Literal["debit", "credit"]
S = TypeVar("S", bound=Select[*tuple[Any, ...]])

_SIDES: dict[Side, tuple[InstrumentedAttribute[UUID], InstrumentedAttribute[int]]] = {
    "debit": (Transfer.debit_account_id, Transfer.debit_account_version),
    "credit": (Transfer.credit_account_id, Transfer.credit_account_version),
}


_FACTS = [Transfer.__table__.c[name] for name in TRANSFER_COLUMNS]

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
        return await self._facts(READ_TRANSFERS, {"ledger_id": ledger_id, "ids": list(transfer_ids)})

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
    ) -> Sequence[domain.Transfer]:
        """Return up to ``limit`` transfers, newest first, older than ``before``; times as in ``_within``."""
        query = select(*_FACTS).where(Transfer.ledger_id == ledger_id).order_by(Transfer.id.desc()).limit(limit)
        if before is not None:
            query = query.where(Transfer.id < before)
        if reference is not None:
            query = query.where(Transfer.reference == reference)
        if hold_id is not None:
            query = query.where(Transfer.hold_id == hold_id)
        if reverses_id is not None:
            query = query.where(Transfer.reverses_id == reverses_id)
        return await self._facts(_within(query, created_from, created_to))

    async def page_of_account(
        self,
        ledger_id: int,
        account_id: UUID,
        *,
        limit: int,
        before_version: int | None,
        reference: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
    ) -> Sequence[domain.Transfer]:
        """Return up to ``limit`` transfers of one account, in falling order of the account's own version.

        Each side is read from its own index in that order, so the cost does not grow with the history.
        """
        given = {
            "before_version": before_version,
            "reference": reference,
            "first_id": created_from and first_identifier(created_from),
            "end_id": created_to and first_identifier(created_to),
        }
        filters = {name: value for name, value in given.items() if value is not None}
        query = _page_of_account(frozenset(filters))
        parameters = {"ledger_id": ledger_id, "account_id": account_id, "limit": limit, **filters}
        return await self._facts(query, parameters)

    async def page_of_account_reference(
        self, ledger_id: int, side: Side, account_reference: str, *, limit: int, before_version: int | None
    ) -> Sequence[Transfer]:
        """Return up to ``limit`` transfers whose account on ``side`` has this reference, with that account loaded,
        in falling order of the account's own version.
        """
        relation = Transfer.debit_account if side == "debit" else Transfer.credit_account
        version = _SIDES[side][1]
        account = aliased(Account)
        query = (
            select(Transfer)
            .join(relation.of_type(account))
            .options(contains_eager(relation.of_type(account)))
            .where(
                Transfer.ledger_id == ledger_id,
                account.ledger_id == ledger_id,
                account.reference == account_reference,
            )
            .order_by(version.desc())
            .limit(limit)
        )
        if before_version is not None:
            query = query.where(version < before_version)
        return (await self._session.scalars(query)).unique().all()

    async def _facts(
        self, query: Select[Any], parameters: Mapping[str, Any] | None = None
    ) -> Sequence[domain.Transfer]:
        return [domain.Transfer(**row._asdict()) for row in await self._session.execute(query, parameters)]


@cache
def _page_of_account(filters: frozenset[str]) -> Select[Any]:
    """Return the query of ``page_of_account`` with these ``filters``: to put it together takes longer (3 ms) than to
    run it.
    """
    limit = bindparam("limit", type_=Integer)
    halves = []
    for account_column, version in _SIDES.values():
        conditions = {
            "before_version": version < bindparam("before_version", type_=BigInteger),
            "reference": Transfer.reference == bindparam("reference", type_=Text),
            "first_id": Transfer.id >= bindparam("first_id", type_=Transfer.id.type),
            "end_id": Transfer.id < bindparam("end_id", type_=Transfer.id.type),
        }
        half = (
            select(Transfer.ledger_id, Transfer.id, version.label("version"))
            .where(
                Transfer.ledger_id == bindparam("ledger_id", type_=Integer),
                account_column == bindparam("account_id", type_=Transfer.id.type),
                *(condition for name, condition in conditions.items() if name in filters),
            )
            .order_by(version.desc())
            .limit(limit)
        )
        halves.append(half.subquery())
    both = union_all(*(select(half) for half in halves)).subquery()
    latest = select(both).order_by(both.c.version.desc()).limit(limit).subquery()
    return (
        select(*_FACTS)
        .join(latest, (Transfer.ledger_id == latest.c.ledger_id) & (Transfer.id == latest.c.id))
        .order_by(latest.c.version.desc())
    )


def _within(query: S, created_from: datetime | None, created_to: datetime | None) -> S:
    """Keep what was created in [created_from, created_to): identifiers rise with time, so their index serves."""
    if created_from is not None:
        query = query.where(Transfer.id >= first_identifier(created_from))
    if created_to is not None:
        query = query.where(Transfer.id < first_identifier(created_to))
    return query
