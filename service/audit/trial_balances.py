"""Trial balances, read a page at a time: by currency, and in each by account.

What is counted was recorded up to a place that the ledger's head has passed, where nothing is recorded again: the pages
of one trial balance are of one moment, and need no common snapshot.
"""

from collections.abc import Callable
from contextlib import aclosing
from uuid import UUID

from msgspec import Struct

from service.domain.accounts import AccountDetails
from service.domain.balances import Viewpoint
from service.domain.trial_balances import Totals, TrialBalanceLine, TrialBalanceOf, TrialBalancePlace
from service.errors import TrialBalanceUnsoundError
from service.storage.database import Session
from service.storage.lists import ScanEnd
from service.storage.repositories import Repositories

LINES_AT_ONCE = 1_000
_STEPS_MAX = 20
"""How many slices of accounts one page reads at most, of currencies that have few or of a code in which one is rare."""

_BEFORE_ALL = ""


class TrialBalancePage(Struct, frozen=True):
    """Some lines, the totals of the currencies that end with them, and where the next page goes on; None where all is
    told.
    """

    lines: list[TrialBalanceLine]
    totals: list[Totals]
    rest: TrialBalancePlace | None


class _Slice(Struct, frozen=True):
    """The lines of some accounts; the code and the id of the last account that was looked at, and whether there are
    more behind it.
    """

    lines: list[TrialBalanceLine]
    last: tuple[str | None, UUID] | None
    is_end: bool


async def read_page(
    session: Session,
    ledger_id: int,
    asked: TrialBalanceOf,
    place: TrialBalancePlace | None,
    *,
    limit: int,
    fits: Callable[[TrialBalanceLine], bool] = lambda _: True,
) -> TrialBalancePage:
    """Return up to ``limit`` lines, those behind ``place``, as long as each of them ``fits``.

    Raises TrialBalanceUnsoundError where all accounts in a currency come to other debits than credits.
    """
    ended: list[Totals] = []
    lines: list[TrialBalanceLine] = []
    if place is None:
        place = await _next_currency(session, ledger_id, asked, _BEFORE_ALL)
    for _ in range(_STEPS_MAX):
        if place is None or len(lines) == limit:
            break
        found = await _read_slice(session, ledger_id, asked, place, min(limit - len(lines), LINES_AT_ONCE))
        for line in found.lines:
            if not fits(line):
                return TrialBalancePage(lines, ended, place)
            lines.append(line)
            place = _behind(place.so_far.plus(line), asked, line.account.code, line.account.id)
        if found.last is not None:
            place = _behind(place.so_far, asked, *found.last)
        if found.is_end:
            ended.append(_checked(place.so_far, asked))
            place = await _next_currency(session, ledger_id, asked, place.so_far.currency)
    return TrialBalancePage(lines, ended, place)


def _behind(so_far: Totals, asked: TrialBalanceOf, code: str | None, account_id: UUID) -> TrialBalancePlace:
    return TrialBalancePlace(so_far=so_far, code=None if asked.code is None else code, id=account_id)


async def _next_currency(
    session: Session, ledger_id: int, asked: TrialBalanceOf, after: str
) -> TrialBalancePlace | None:
    """Return the beginning of the currency that follows ``after``."""
    if asked.currency is not None:
        currency = asked.currency if after == _BEFORE_ALL else None
    else:
        currency = await Repositories(session).accounts.next_currency(ledger_id, after)
    return None if currency is None else TrialBalancePlace(so_far=Totals(currency=currency))


async def _read_slice(
    session: Session, ledger_id: int, asked: TrialBalanceOf, place: TrialBalancePlace, limit: int
) -> _Slice:
    """Return the lines of the next ``limit`` accounts behind ``place`` at most. What was opened later than is asked
    for was not known then, and has none.
    """
    repositories, currency = Repositories(session), place.so_far.currency
    if asked.code is None:
        slices = repositories.accounts.page(ledger_id, limit=limit, order="asc", after=place.id, currency=currency)
    else:
        after = None if place.code is None or place.id is None else (place.code, place.id)
        slices = repositories.accounts.page_of_group(
            ledger_id, asked.code, limit=limit, order="asc", after=after, currency=currency
        )
    viewpoint = Viewpoint.at(asked.as_of, asked.known_at)
    async with aclosing(slices):
        rows = [row async for some in slices for row in some]
    accounts = [row for row in rows if isinstance(row, AccountDetails) and row.id < viewpoint.end]
    last, is_end = None, len(rows) < limit
    if rows:
        latest = rows[-1]
        if isinstance(latest, ScanEnd):
            last, is_end = latest.position, False
        else:
            last = latest.code, latest.id
    posted = await repositories.balances.posted(ledger_id, [account.id for account in accounts], viewpoint)
    balances = {one.account_id: one.balance for one in posted}
    lines = [TrialBalanceLine.of(account, balances[account.id]) for account in accounts]
    return _Slice(lines, last, is_end)


def _checked(totals: Totals, asked: TrialBalanceOf) -> Totals:
    """Return ``totals``. Of the accounts of a code they need not balance."""
    if asked.code is None and totals.debit_balances != totals.credit_balances:
        raise TrialBalanceUnsoundError(
            f"as of {asked.as_of}, known at {asked.known_at}, the accounts in {totals.currency} have debit balances of"
            f" {totals.debit_balances} and credit balances of {totals.credit_balances}"
        )
    return totals
