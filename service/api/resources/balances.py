"""Balances at a time: of one account, of many."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, cast
from uuid import UUID

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from service.api.context import LedgerRef
from service.api.http.decoding import StrictJSON
from service.api.http.problems import responses
from service.api.resources.commands import in_utc
from service.audit.balances import BalancesAt, Times, read_balances
from service.domain.balances import BalanceAt
from service.domain.rejections import AccountNotFound
from service.errors import ProblemError
from service.storage.plans import Plans
from service.storage.transactions import Reader
from service.wire.accounts import NormalSide
from service.wire.balances import AS_OF, KNOWN_AT, BalancesRequest, BalancesView, BalanceView
from service.wire.errors import MalformedError
from service.wire.times import Time


@get(
    "/v1/ledgers/{ledger_name:str}/accounts/{account_id:uuid}/balance",
    opt={"scope": "read"},
    operation_id="getBalance",
    tags=["Balances"],
    responses=responses(AccountNotFound),
)
async def get_balance(
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    account_id: FromPath[UUID],
    as_of: Annotated[Time | None, QueryParameter(description=AS_OF)] = None,
    known_at: Annotated[Time | None, QueryParameter(description=KNOWN_AT)] = None,
) -> BalanceView:
    """Read an account's balances at a time, on two axes: by value date as of one time, as they were known at another.
    Holds have no value date: what they reserved is told as of `known_at`. Before anything of an account was recorded,
    its balances are zero.
    """
    found = await _read(reader, ledger, [account_id], as_of, known_at, at="/query")
    return _view(ledger, found.times, found.balances[account_id])


@post(
    "/v1/ledgers/{ledger_name:str}/balances/query",
    status_code=200,
    dto=StrictJSON[BalancesRequest],
    opt={"scope": "read"},
    operation_id="queryBalances",
    tags=["Balances"],
    responses=responses(AccountNotFound),
)
async def query_balances(
    reader: NamedDependency[Reader], ledger: NamedDependency[LedgerRef], data: JSONBody[BalancesRequest]
) -> BalancesView:
    """Read the balances of up to 1,000 accounts, all at the same times, in the order of the request. The first account
    that the ledger does not have is named in the problem.
    """
    found = await _read(reader, ledger, data.account_ids, in_utc(data.as_of), in_utc(data.known_at), at="")
    return BalancesView(
        items=[_view(ledger, found.times, found.balances[account_id]) for account_id in data.account_ids]
    )


async def _read(
    reader: Reader,
    ledger: LedgerRef,
    account_ids: Sequence[UUID],
    as_of: datetime | None,
    known_at: datetime | None,
    *,
    at: str,
) -> BalancesAt:
    """Return the balances of all ``account_ids``. Raises ProblemError (account_not_found), and MalformedError for a
    ``known_at``, which stands under ``at`` in the request, that lies ahead.
    """
    ids = dict.fromkeys(account_ids)
    found = await reader(
        lambda session: read_balances(session, ledger.id, list(ids), as_of=as_of, known_at=known_at),
        enough=lambda found: found.times.is_reached and len(found.balances) == len(ids),
        plans=Plans.KEPT,
    )
    refuse_ahead(found.times, at)
    for account_id in ids:
        if account_id not in found.balances:
            raise ProblemError(AccountNotFound(account_id))
    return found


def refuse_ahead(times: Times, at: str) -> None:
    """Raise MalformedError when what is asked for, which stands under ``at`` in the request, is not known yet."""
    if times.is_ahead:
        raise MalformedError(
            f"{at}/known_at",
            "this lies ahead of the clock, and what will be recorded is not known; leave it out for now",
        )


def _view(ledger: LedgerRef, times: Times, balance: BalanceAt) -> BalanceView:
    posted, held = balance.posted, balance.held
    return BalanceView(
        account_id=posted.account_id,
        ledger=ledger.name,
        currency=posted.currency,
        normal_side=cast("NormalSide", posted.normal_side),  # a constraint of the table keeps it to the known ones
        as_of=times.as_of,
        known_at=times.known_at,
        balance=posted.balance,
        debits_held=held.debits_held,
        credits_held=held.credits_held,
        available_balance=balance.available_balance,
        version=held.version,
    )
