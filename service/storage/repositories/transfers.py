"""Named queries on transfers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from service.domain.identifiers import first_identifier
from service.domain.limits import INT64_MAX
from service.domain.transfers import Transfer, TransferWithAccounts
from service.storage.database import Session
from service.storage.group_commit.statements import FIND_TRANSFERS, TRANSFER_COLUMNS
from service.storage.lists import ENTRIES_SCANNED_MAX, ListOrder, ScanEnd, Slices, matching, slices
from service.storage.repositories.mapping import transfer_with_accounts
from service.storage.rows import AccountRow, TransferRow
from service.storage.transfer_filters import Position, ReferencePlace, TransferFilters, Walk
from service.storage.transfer_walks import EQUAL, LATEST_VERSION, transfers_page, versions_at

_FIRST_ID, _LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
"""Identifiers before and after all that there are."""

_LAST_CHARACTER = "\U0010ffff"
"""Is in no reference, and comes after every character that is."""

_WALKS: dict[str, Walk] = {
    "account_id": "account",
    "counterparty_id": "account",
    "debit_account_id": "debit",
    "credit_account_id": "credit",
}
"""The walk along the history of an account that is given as a filter of this name."""


class TransferRepository:
    """Reads transfers on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def by_ids(self, ledger_id: int, transfer_ids: Sequence[UUID]) -> Sequence[Transfer]:
        """Return the transfers that exist of ``transfer_ids``, in the order of their ids. Not as mapped objects, as for
        accounts.
        """
        rows = await self._session.execute(FIND_TRANSFERS, {"ledger_id": ledger_id, "ids": list(transfer_ids)})
        return [Transfer(**row._asdict()) for row in rows]

    async def with_accounts(self, ledger_id: int, transfer_id: UUID) -> TransferWithAccounts | None:
        """Return one transfer with both of its accounts."""
        accounts = [joinedload(TransferRow.debit_account), joinedload(TransferRow.credit_account)]
        row = await self._session.get(TransferRow, (ledger_id, transfer_id), options=accounts)
        return None if row is None else transfer_with_accounts(row)

    async def page(
        self, ledger_id: int, filters: TransferFilters, *, limit: int, order: ListOrder, after: Position | None
    ) -> Slices[Transfer | ScanEnd]:
        """Yield, in slices, up to ``limit`` transfers that pass all ``filters``, in ``order``, behind the position
        ``after``, which is of ``filters.position_type``.

        They are read from one index, or a few merged, in its order, so the cost does not grow with the history. Filters
        that the index does not keep to are asked of its next ENTRIES_SCANNED_MAX entries; a ScanEnd then says where the
        next page continues.
        """
        accounts = await self._accounts(ledger_id, filters)
        if accounts is None:
            return
        walk, account_id = await self._shortest(ledger_id, filters, accounts)
        parameters = {"ledger_id": ledger_id, "limit": limit, **_bounds(filters, order, after)}
        if account_id is not None:
            parameters |= await self._versions(ledger_id, account_id, parameters, order, after)
        if filters.sifted:
            parameters |= _asked(filters, accounts)
        query = transfers_page(walk, order, is_sifted=bool(filters.sifted))
        async for rows in slices(self._session, query, parameters):
            if filters.sifted:
                found = matching(rows, _transfer, filters.position)
                yield found
            else:
                yield [Transfer(**row._asdict()) for row in rows]

    async def _accounts(self, ledger_id: int, filters: TransferFilters) -> dict[str, UUID] | None:
        """Return the accounts that ``filters`` ask for, by the name of the condition; None where no transfer can be
        theirs.
        """
        given = {"account_id": filters.account_id, "counterparty_id": filters.counterparty_id}
        references = {
            "debit_account_id": filters.debit_account_reference,
            "credit_account_id": filters.credit_account_reference,
        }
        for name, reference in references.items():
            if reference is not None:
                account = (AccountRow.ledger_id == ledger_id, AccountRow.reference == reference)
                given[name] = await self._session.scalar(select(AccountRow.id).where(*account))
                if given[name] is None:
                    return None
        accounts = {name: account_id for name, account_id in given.items() if account_id is not None}
        return accounts if len(set(accounts.values())) == len(accounts) else None

    async def _shortest(
        self, ledger_id: int, filters: TransferFilters, accounts: dict[str, UUID]
    ) -> tuple[Walk, UUID | None]:
        """Return the shortest walk that ``filters`` leave, and the account whose history it is.

        Of two accounts, that is the one with the shorter history. Of accounts and a reference, it is the transfers with
        the reference, unless one page can look through the history of an account.
        """
        if filters.walk not in _WALKS.values():
            return filters.walk, None
        [first, *others] = accounts.items()
        if not others and filters.reference is None:
            return _WALKS[first[0]], first[1]
        latest = {
            name: await self._session.scalar(LATEST_VERSION, {"ledger_id": ledger_id, "account_id": account_id})
            for name, account_id in accounts.items()
        }
        shortest = min(latest, key=latest.__getitem__)
        if filters.reference is not None and latest[shortest] >= ENTRIES_SCANNED_MAX:
            return "reference", None
        return _WALKS[shortest], accounts[shortest]

    async def _versions(
        self, ledger_id: int, account_id: UUID, ids: dict[str, Any], order: ListOrder, after: Position | None
    ) -> dict[str, Any]:
        """Return the parameters of a walk along an account's history. Identifiers are turned into versions: both rise
        along an account.
        """
        ends = {_FIRST_ID: 0, _LAST_ID: INT64_MAX}
        unknown = [one for one in (ids["low_id"], ids["high_id"]) if one not in ends]
        if unknown:
            found = await versions_at(self._session, ledger_id, account_id, unknown)
            ends |= dict(zip(unknown, found, strict=True))
        low, high = ends[ids["low_id"]], ends[ids["high_id"]]
        if isinstance(after, int):
            low, high = (low, min(high, after)) if order == "desc" else (max(low, min(after, INT64_MAX - 1) + 1), high)
        return {"walked_id": account_id, "low_version": low, "high_version": high}


def _bounds(filters: TransferFilters, order: ListOrder, after: Position | None) -> dict[str, Any]:
    """Return the parameters that say what a walk is of, and where it begins and ends."""
    low, high = _between(filters.created_from, filters.created_to)
    if isinstance(after, UUID):
        behind = UUID(int=min(after.int + 1, _LAST_ID.int))
        low, high = (low, min(high, after)) if order == "desc" else (max(low, behind), high)
    bounds: dict[str, Any] = {"low_id": low, "high_id": high}
    bounds |= {name: getattr(filters, name) for name in ("hold_id", "reverses_id", "reference")}
    if filters.walk == "dated":
        dated = [min(max(one, low), high) for one in _between(filters.effective_from, filters.effective_to)]
        bounds |= {"first_id": dated[0], "end_id": max(dated)}
    if filters.reference_prefix is not None:
        first, end = (filters.reference_prefix, _FIRST_ID), (filters.reference_prefix + _LAST_CHARACTER, _FIRST_ID)
        bounds |= {"first_reference": first[0], "end_reference": end[0]}
        at = first if order == "asc" else end
        if isinstance(after, ReferencePlace):
            at = min(max((after.reference, after.id), first), end)
        bounds |= {"at_reference": at[0], "at_id": at[1]}
    return bounds


def _between(first: datetime | None, end: datetime | None) -> tuple[UUID, UUID]:
    """Return the bounds of the identifiers of [first, end): they rise with time."""
    return (
        _FIRST_ID if first is None else first_identifier(first),
        _LAST_ID if end is None else first_identifier(end),
    )


def _asked(filters: TransferFilters, accounts: dict[str, UUID]) -> dict[str, Any]:
    """Return the parameters of the conditions on each transfer that is read."""
    ranges = ("effective_from", "effective_to", "amount_min", "amount_max", "description_words", "metadata")
    asked = {name: getattr(filters, name, None) for name in (*EQUAL, *ranges)}
    asked |= dict.fromkeys((*_WALKS, *(() if filters.reference_prefix else ("first_reference", "end_reference"))))
    return asked | accounts


def _transfer(row: Any) -> Transfer:
    """Return the transfer in a row that has more columns."""
    return Transfer(**{name: getattr(row, name) for name in TRANSFER_COLUMNS})
