"""Named queries on accounts."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import structs
from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    insert,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.orm import selectinload

from service.domain import codes
from service.domain.accounts import AccountDetails, AccountRevision, AccountStatus
from service.domain.transfers import TransferWithAccounts
from service.storage.database import Session
from service.storage.group_commit.statements import FIND_ACCOUNTS, FIND_NAMES
from service.storage.lists import (
    ENTRIES_SCANNED_MAX,
    LIMIT,
    ListOrder,
    ScanEnd,
    Slices,
    behind,
    each_of,
    matching,
    merged,
    only,
    ordered,
    sifted,
    slices,
)
from service.storage.repositories.mapping import account_of, transfer_with_accounts
from service.storage.rows import AccountRow, TransferRow

_ACCOUNTS = AccountRow.__table__.c
_DETAILS = [_ACCOUNTS[name] for name in AccountDetails.__struct_fields__]
_FIELDS = len(_DETAILS)

CodePosition = tuple[str, UUID]
"""Where an account stands in the order of codes: its code and its id."""


class AccountName(NamedTuple):
    """What an account is called by its holders, and by people."""

    reference: str | None
    name: str | None


class AccountRepository:
    """Reads accounts on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def by_ids(self, ledger_id: int, account_ids: Sequence[UUID]) -> Sequence[AccountDetails]:
        """Return the accounts that exist of ``account_ids``, in the order of their ids.

        Not as mapped objects, which cost many times as much to make (30 µs, measured).
        """
        rows = await self._session.execute(FIND_ACCOUNTS, {"ledger_id": ledger_id, "ids": list(account_ids)})
        return [AccountDetails(*row) for row in rows]

    async def named(self, ledger_id: int, account_ids: Sequence[UUID]) -> dict[UUID, AccountName]:
        """Return what those accounts are called that exist of ``account_ids``."""
        rows = await self._session.execute(FIND_NAMES, {"ledger_id": ledger_id, "ids": list(account_ids)})
        return {row.id: AccountName(row.reference, row.name) for row in rows}

    async def with_recent_transfers(
        self, ledger_id: int, account_id: UUID
    ) -> tuple[AccountDetails, list[TransferWithAccounts]] | None:
        """Return one account with the transfers among its latest RECENT_CHANGES versions, newest first, and each of
        these with both of its accounts.
        """
        sides = [selectinload(AccountRow.recent_debits), selectinload(AccountRow.recent_credits)]
        accounts = [TransferRow.debit_account, TransferRow.credit_account]
        options = [transfers.joinedload(account) for transfers in sides for account in accounts]
        row = await self._session.get(AccountRow, (ledger_id, account_id), options=options)
        return None if row is None else (account_of(row), [transfer_with_accounts(one) for one in row.recent_transfers])

    async def page(
        self,
        ledger_id: int,
        *,
        limit: int,
        order: ListOrder,
        after: UUID | None,
        currency: str | None = None,
        status: str | None = None,
        reference: str | None = None,
        code: str | None = None,
    ) -> Slices[AccountDetails | ScanEnd]:
        """Yield, in slices, up to ``limit`` accounts that match every filter given, in ``order`` of their ids, after
        the one called ``after``.

        A currency or a status beside a code is looked for among the next ENTRIES_SCANNED_MAX accounts that have the
        code; a ScanEnd then says where the next page continues.
        """
        given = _given(after=after, currency=currency, status=status, reference=reference, code=code)
        parameters = {"ledger_id": ledger_id, "limit": limit, **given}
        async for rows in slices(self._session, _page(frozenset(given), order), parameters):
            yield _accounts(rows, lambda account: account.id)

    async def page_of_group(
        self,
        ledger_id: int,
        group: str,
        *,
        limit: int,
        order: ListOrder,
        after: CodePosition | None,
        currency: str | None = None,
        status: str | None = None,
        reference: str | None = None,
    ) -> Slices[AccountDetails | ScanEnd]:
        """Yield, in slices, up to ``limit`` accounts whose codes ``group`` stands for and that match every filter
        given, in ``order`` of their codes and ids, after the one at ``after``, whose code ``group`` stands for. A
        ScanEnd is as in ``page``.
        """
        given = _given(currency=currency, status=status, reference=reference)
        place = None
        parameters = {"ledger_id": ledger_id, "limit": limit, **_bounds(group), **given}
        if after is not None:
            place = "at" if after[0] == group else "behind"
            parameters |= {"after_code": after[0], "after": after[1]}
        query = _page_of_group(frozenset(given), place, order)
        async for rows in slices(self._session, query, parameters):
            yield _accounts(rows, lambda account: (account.code, account.id))

    async def next_currency(self, ledger_id: int, after: str) -> str | None:
        """Return the first currency of the ledger's accounts that follows ``after``."""
        currency: str | None = await self._session.scalar(_NEXT_CURRENCY, {"ledger_id": ledger_id, "after": after})
        return currency

    async def references_in_use(self, ledger_id: int, references: Sequence[str]) -> set[str]:
        """Return those of ``references`` that accounts of the ledger have."""
        wanted = each_of(references)
        account = select(AccountRow.id).where(AccountRow.ledger_id == ledger_id, AccountRow.reference == wanted.c.value)
        query = select(wanted.c.value).join(account.limit(1).lateral(), true())
        return set(await self._session.scalars(query))

    async def ids_by_references(self, ledger_id: int, references: Sequence[str]) -> dict[str, UUID]:
        """Return the identifiers of the accounts that have ``references``, by reference, as far as there are any."""
        wanted = each_of(references)
        account = select(AccountRow.id).where(AccountRow.ledger_id == ledger_id, AccountRow.reference == wanted.c.value)
        found = account.limit(1).lateral()
        query = select(wanted.c.value, found.c.id).join(found, true())
        return {row.value: row.id for row in await self._session.execute(query)}

    async def for_revision(self, ledger_id: int, account_id: UUID) -> AccountDetails | None:
        """Return one account, locked as transfers lock it, until the transaction ends."""
        query = select(*_DETAILS).where(_ACCOUNTS.ledger_id == ledger_id, _ACCOUNTS.id == account_id)
        row = (await self._session.execute(query.with_for_update(key_share=True))).one_or_none()
        return None if row is None else AccountDetails(*row)

    async def add(self, ledger_id: int, accounts: Iterable[AccountDetails]) -> None:
        """Add ``accounts``, in the order of their references: those who share references meet at the first of them.

        Raises the driver's errors: a violation of UQ_ACCOUNTS_REFERENCE when an account has the reference.
        """
        added = [{"ledger_id": ledger_id, **_named_as_mapped(structs.asdict(account))} for account in accounts]
        if added:
            added.sort(key=lambda values: values["reference"] or "")
            await self._session.execute(insert(AccountRow), added)

    async def revise(self, ledger_id: int, account: AccountDetails) -> None:
        """Write what a revision can change of ``account``, which is locked, and the time of its last change."""
        revised = {name: getattr(account, name) for name in (*AccountRevision.__struct_fields__, "updated_at")}
        await self._session.execute(
            update(AccountRow)
            .where(AccountRow.ledger_id == ledger_id, AccountRow.id == account.id)
            .values(_named_as_mapped(revised))
            .execution_options(synchronize_session=False)
        )


def _named_as_mapped(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the one name changed that SQLAlchemy has for itself on a mapped class."""
    return {"metadata_" if name == "metadata" else name: value for name, value in values.items()}


def _given(**filters: Any) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if value is not None}


def _bounds(group: str) -> dict[str, str]:
    """Return the parameters of what ``group`` stands for: the code itself, and where the codes behind it lie."""
    return {"code": group, "first_code": group + codes.SEPARATOR, "end_code": group + codes.BEHIND_SEPARATOR}


def _accounts(rows: Sequence[Any], position: Callable[[AccountDetails], Any]) -> list[AccountDetails | ScanEnd]:
    """Return the accounts in ``rows``, and where the scan ended if it did (``lists.sifted``)."""
    if not rows or len(rows[0]) == _FIELDS:
        return [AccountDetails(*row) for row in rows]
    return matching(rows, lambda row: AccountDetails(*row[:_FIELDS]), position)


def _parameter(name: str, column: str | None = None) -> ColumnElement[Any]:
    return bindparam(name, type_=_ACCOUNTS[column or name].type)


def _also(row: Any, names: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that ``row`` has, in the columns called ``names``, what the filters of these names ask."""
    return and_(true(), *(row.c[name] == _parameter(name) for name in sorted(names)))


_NEXT_CURRENCY = (
    select(_ACCOUNTS.currency)
    .where(
        _ACCOUNTS.ledger_id == bindparam("ledger_id", type_=Integer),
        _ACCOUNTS.currency > _parameter("after", "currency"),
    )
    .order_by(_ACCOUNTS.currency)
    .limit(1)
)
_OF_LEDGER = select(*_DETAILS).where(_ACCOUNTS.ledger_id == bindparam("ledger_id", type_=Integer))


@cache
def _page(filters: frozenset[str], order: ListOrder) -> Select[Any]:
    """Return the query of ``AccountRepository.page`` with these ``filters``, in ``order``."""
    query = _OF_LEDGER
    if "after" in filters:
        query = query.where(behind(_ACCOUNTS.id, _parameter("after", "id"), order))
    if "reference" in filters:
        row = _of_reference(query)
        return select(row).where(_also(row, filters & {"currency", "status", "code"})).limit(LIMIT)
    if "code" in filters:
        coded = query.where(only(_ACCOUNTS.code, _parameter("code"))).order_by(ordered(_ACCOUNTS.id, order))
        return _narrowed(coded, filters & {"currency", "status"}, order, ("id",))
    if "currency" in filters:
        query = query.where(only(_ACCOUNTS.currency, _parameter("currency")))
    statuses = [_parameter("status")] if "status" in filters else [literal(status.value) for status in AccountStatus]
    query = query.order_by(ordered(_ACCOUNTS.id, order))
    if filters.isdisjoint({"currency", "status"}):
        return query.limit(LIMIT)
    # The index on currencies has them by status.
    return merged([query.where(only(_ACCOUNTS.status, status)) for status in statuses], ["id"], order)


def _of_reference(query: Select[Any]) -> Any:
    """Return the one account of ``query`` at most that has the reference: what else it must be is asked outside of the
    LIMIT, so that no other index is taken.
    """
    return query.where(_ACCOUNTS.reference == _parameter("reference")).limit(1).subquery()


def _narrowed(scan: Select[Any], names: frozenset[str], order: ListOrder, columns: tuple[str, ...]) -> Select[Any]:
    """Return ``scan``, which is in ``order`` of ``columns``, held to the filters of these ``names``."""
    return sifted(scan, lambda row: _also(row, names), order, columns) if names else scan.limit(LIMIT)


_BY_CODE = ("code", "id")
_BEHIND_GROUP = (_ACCOUNTS.code >= _parameter("first_code", "code"), _ACCOUNTS.code < _parameter("end_code", "code"))


@cache
def _page_of_group(filters: frozenset[str], place: str | None, order: ListOrder) -> Select[Any]:
    """Return the query of ``page_of_group`` with these ``filters``, in ``order``, after an account that has the group's
    own code (``place`` "at"), or one behind it ("behind"), or from the beginning (None).

    The codes behind the group's own are a range of the index of which that code is not a part: others lie between, such
    as ``1000-1``. A position is the only bound of the range on its side, so that reading begins there.
    """
    if "reference" in filters:
        row = _of_reference(_OF_LEDGER)
        of_group = or_(
            row.c.code == _parameter("code"),
            and_(row.c.code >= _parameter("first_code", "code"), row.c.code < _parameter("end_code", "code")),
        )
        conditions = [of_group, _also(row, filters - {"reference"})]
        if place is not None:
            conditions.append(_after(row.c, order))
        return select(row).where(*conditions).limit(LIMIT)
    at, behind_it = [only(_ACCOUNTS.code, _parameter("code"))], list(_BEHIND_GROUP)
    if place == "at":
        at.append(behind(_ACCOUNTS.id, _parameter("after", "id"), order))
    if place == "behind":
        behind_it[0 if order == "asc" else 1] = _after(_ACCOUNTS, order)
    parts = [(at, place == "behind" and order == "asc"), (behind_it, place == "at" and order == "desc")]
    by_code = [ordered(_ACCOUNTS[name], order) for name in _BY_CODE]
    branches = [_OF_LEDGER.where(*conditions).order_by(*by_code) for conditions, is_past in parts if not is_past]
    names = filters & {"currency", "status"}
    both = merged(branches, _BY_CODE, order, limit=ENTRIES_SCANNED_MAX if names else LIMIT)
    return _narrowed(both, names, order, _BY_CODE)


def _after(columns: Any, order: ListOrder) -> ColumnElement[bool]:
    position = tuple_(_parameter("after_code", "code"), _parameter("after", "id"))
    return behind(tuple_(columns.code, columns.id), position, order)
