"""Statements of accounts, read a page at a time; opening, lines and closing are held against each other.

Everything that a statement counts was recorded behind the ledger's head, where nothing is recorded again: its pages
need no common snapshot.
"""

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from service.audit.balances import Times
from service.audit.ledger_log import LedgerLog
from service.domain.balances import Viewpoint
from service.domain.exports import Period
from service.domain.history import LoggedLedger
from service.domain.statements import Axis, Line, Order, Position, Statement, signed
from service.domain.transfers import Transfer
from service.errors import StatementUnsoundError
from service.storage.database import Session
from service.storage.lists import Slices
from service.storage.repositories import Repositories
from service.storage.repositories.log import Checkpoint


class Asked(Struct, frozen=True):
    """What statement of which account is asked for; ``known_at`` is None for all that is recorded."""

    account_id: UUID
    axis: Axis
    period: Period
    known_at: datetime | None


class OpenedStatement(Struct, frozen=True):
    """A statement, None where the ledger has no such account; as of which times, and the latest checkpoint of the log
    that can prove it.
    """

    statement: Statement | None
    times: Times
    checkpoint: Checkpoint | None


class StatementPage(Struct, frozen=True):
    """Some lines of a statement, and the position behind them; None where the statement ends with them."""

    lines: list[Line]
    rest: Position | None


async def open_statement(session: Session, ledger: LoggedLedger, asked: Asked) -> OpenedStatement:
    """Return the statement that is ``asked`` for, with its balances before the period and at its end."""
    repositories = Repositories(session)
    times = Times.of(await repositories.heads.look(ledger.id), as_of=None, known_at=asked.known_at)
    accounts = await repositories.accounts.by_ids(ledger.id, [asked.account_id])
    if not accounts or times.is_ahead:
        return OpenedStatement(None, times, None)
    order = order_of(asked.axis, times.known_at)
    ends = [order.viewpoint(order.before(time)) for time in (asked.period.start, asked.period.end)]
    opening, closing = await repositories.balances.posted_from(ledger.id, asked.account_id, ends)
    statement = Statement(
        account=accounts[0],
        axis=asked.axis,
        period=asked.period,
        known_at=times.known_at,
        opening=opening.balance,
        closing=closing.balance,
    )
    return OpenedStatement(statement, times, await repositories.log.checkpoint(ledger.id))


def order_of(axis: Axis, known_at: datetime) -> Order:
    """Return the order of statements on ``axis`` of what was recorded by ``known_at``."""
    return Order(axis, Viewpoint.at(known_at, known_at).end)


async def read_lines(
    session: Session,
    ledger: LoggedLedger,
    statement: Statement,
    checkpoint: Checkpoint | None,
    after: Position | None,
    limit: int,
) -> StatementPage:
    """Return up to ``limit`` lines of ``statement`` behind the position ``after``, from the first on for None.
    ``checkpoint`` is the latest of the log, which says where in it they are.

    Raises StatementUnsoundError where they do not lead from the balance before them to the one behind them, which are
    read apart from them; and where the balance after a transfer is not the one that was recorded with it.
    """
    order, period = order_of(statement.axis, statement.known_at), statement.period
    first, last = order.before(period.start), order.before(period.end)
    start = first if after is None else order.within(after, period)
    transfers = await _some(_transfers(session, ledger, statement, order, start, limit + 1), limit + 1)
    rest = order.of(transfers[limit - 1]) if len(transfers) > limit else None
    del transfers[limit:]
    end = last if rest is None else rest
    balances = {first: statement.opening, last: statement.closing}
    balances |= await _balances(session, ledger, statement, [one for one in (start, end) if one not in balances])
    lines = await _lines(session, ledger, statement, checkpoint, transfers, balances[start])
    if (lines[-1].balance if lines else balances[start]) != balances[end]:
        raise StatementUnsoundError(
            f"the statement of account {statement.account.id} does not add up to {balances[end]} at {end}"
        )
    return StatementPage(lines, rest)


async def read_on(
    session: Session, ledger: LoggedLedger, statement: Statement, after: Position, limit: int
) -> StatementPage | None:
    """Return what ``read_lines`` does; None where the database does not hold yet all that the statement counts."""
    repositories = Repositories(session)
    head = await repositories.heads.look(ledger.id)
    if head.last_at < statement.known_at:
        return None
    checkpoint = await repositories.log.checkpoint(ledger.id)
    return await read_lines(session, ledger, statement, checkpoint, after, limit)


async def _balances(
    session: Session, ledger: LoggedLedger, statement: Statement, positions: Sequence[Position]
) -> dict[Position, int]:
    """Return the balances at ``positions``, which are read apart from the lines between them."""
    if not positions:
        return {}
    order = order_of(statement.axis, statement.known_at)
    viewpoints = [order.viewpoint(position) for position in positions]
    found = await Repositories(session).balances.posted_from(ledger.id, statement.account.id, viewpoints)
    return {position: posted.balance for position, posted in zip(positions, found, strict=True)}


def _transfers(
    session: Session, ledger: LoggedLedger, statement: Statement, order: Order, start: Position, limit: int
) -> Slices[Transfer]:
    repository, account_id = Repositories(session).statements, statement.account.id
    end = statement.period.end
    if statement.axis == "value":
        return repository.value_dated(
            ledger.id, account_id, viewpoint=order.viewpoint(start), dated_to=end, limit=limit
        )
    first, last = (order.viewpoint(position).end for position in (start, order.before(end)))
    return repository.recorded(ledger.id, account_id, start=first, end=last, limit=limit)


async def _some(slices: Slices[Transfer], limit: int) -> list[Transfer]:
    """Return the first ``limit`` of ``slices``, without their metadata, which no statement shows."""
    async with aclosing(slices) as found:
        return [structs.replace(one, metadata={}) async for transfers in found for one in transfers][:limit]


async def _lines(
    session: Session,
    ledger: LoggedLedger,
    statement: Statement,
    checkpoint: Checkpoint | None,
    transfers: Sequence[Transfer],
    balance: int,
) -> list[Line]:
    """Return the lines of ``transfers``, which follow the ``balance``."""
    account = statement.account
    sides = [
        (one.credit_account_id, one.debit_account_version, one.debit_balance_after)
        if one.debit_account_id == account.id
        else (one.debit_account_id, one.credit_account_version, one.credit_balance_after)
        for one in transfers
    ]
    names = await Repositories(session).accounts.named(ledger.id, list({other for other, _, _ in sides}))
    indexes = await LedgerLog(session, ledger).indexes([one.id for one in transfers], checkpoint)
    lines = []
    for transfer, (other, version, recorded) in zip(transfers, sides, strict=True):
        amount = signed(transfer, account)
        balance += amount
        if statement.axis == "recorded" and balance != recorded:
            raise StatementUnsoundError(f"transfer {transfer.id} left {recorded}, and the statement {balance}")
        lines.append(
            Line(
                transfer=transfer,
                version=version,
                amount=amount,
                balance=balance,
                counterparty_id=other,
                counterparty_reference=names[other].reference,
                counterparty_name=names[other].name,
                log_index=indexes.get(transfer.id),
            )
        )
    return lines
