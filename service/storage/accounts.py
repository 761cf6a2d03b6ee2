"""Named queries on accounts."""

from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, bindparam, literal, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from service.domain.accounts import AccountDetails
from service.storage.lists import LIMIT, Slices, each_of, merged, only, slices
from service.storage.models import Account, Transfer
from service.storage.statements import FIND_ACCOUNTS

# ``metadata`` is SQLAlchemy's own name on a mapped class.
_attributes = attrgetter(*("metadata_" if name == "metadata" else name for name in AccountDetails.__struct_fields__))


def details(account: Account) -> AccountDetails:
    """Return what the rules and the API need to know of a mapped account."""
    return AccountDetails(*_attributes(account))


_ACCOUNTS = Account.__table__.c
_DETAILS = [_ACCOUNTS[name] for name in AccountDetails.__struct_fields__]
STATUSES = ("open", "frozen", "closed")


class AccountRepository:
    """Reads accounts on the session of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_ids(self, ledger_id: int, account_ids: Sequence[UUID]) -> Sequence[AccountDetails]:
        """Return the accounts that exist of ``account_ids``, in the order of their ids.

        Not as mapped objects, which cost many times as much to make (30 µs, measured).
        """
        rows = await self._session.execute(FIND_ACCOUNTS, {"ledger_id": ledger_id, "ids": list(account_ids)})
        return [AccountDetails(*row) for row in rows]

    async def with_recent_transfers(self, ledger_id: int, account_id: UUID) -> Account | None:
        """Return one account with its recent transfers, and each of these with both of its accounts."""
        sides = [selectinload(Account.recent_debits), selectinload(Account.recent_credits)]
        accounts = [Transfer.debit_account, Transfer.credit_account]
        options = [transfers.joinedload(account) for transfers in sides for account in accounts]
        return await self._session.get(Account, (ledger_id, account_id), options=options)

    async def page(
        self,
        ledger_id: int,
        *,
        limit: int,
        before: UUID | None,
        currency: str | None = None,
        status: str | None = None,
        reference: str | None = None,
    ) -> Slices[AccountDetails]:
        """Yield, in slices, up to ``limit`` accounts that match every filter given, newest first, older than
        ``before``.
        """
        filters = {"before": before, "currency": currency, "status": status, "reference": reference}
        given = {name: value for name, value in filters.items() if value is not None}
        parameters = {"ledger_id": ledger_id, "limit": limit, **given}
        async for rows in slices(self._session, _page(frozenset(given)), parameters):
            yield [AccountDetails(*row) for row in rows]

    async def references_in_use(self, ledger_id: int, references: Sequence[str]) -> set[str]:
        """Return those of ``references`` that accounts of the ledger have."""
        wanted = each_of(references)
        account = select(Account.id).where(Account.ledger_id == ledger_id, Account.reference == wanted.c.value)
        query = select(wanted.c.value).join(account.limit(1).lateral(), true())
        return set(await self._session.scalars(query))

    async def for_revision(self, ledger_id: int, account_id: UUID) -> Account | None:
        """Return one account, locked as transfers lock it, until the transaction ends."""
        return await self._session.get(Account, (ledger_id, account_id), with_for_update={"key_share": True})


@cache
def _page(filters: frozenset[str]) -> Select[Any]:
    """Return the query of ``AccountRepository.page`` with these ``filters``."""

    def parameter(name: str) -> ColumnElement[Any]:
        return bindparam(name, type_=_ACCOUNTS[name].type)

    query = select(*_DETAILS).where(_ACCOUNTS.ledger_id == bindparam("ledger_id", type_=Integer))
    if "before" in filters:
        query = query.where(_ACCOUNTS.id < bindparam("before", type_=_ACCOUNTS.id.type))
    if "reference" in filters:
        # One account at most: what else it must be is asked outside of the LIMIT, so that no other index is taken.
        row = query.where(_ACCOUNTS.reference == parameter("reference")).limit(1).subquery()
        rest = [row.c[name] == parameter(name) for name in ("currency", "status") if name in filters]
        return select(row).where(*rest).limit(LIMIT)
    if "currency" in filters:
        query = query.where(only(_ACCOUNTS.currency, parameter("currency")))
    statuses = [parameter("status")] if "status" in filters else [literal(status) for status in STATUSES]
    query = query.order_by(_ACCOUNTS.id.desc())
    if filters.isdisjoint({"currency", "status"}):
        return query.limit(LIMIT)
    # The index on currencies has them by status.
    return merged([query.where(only(_ACCOUNTS.status, status)) for status in statuses], ["id"])
