"""Named queries on decisions, and what adds them. ``stored_decisions`` says how their results are stored."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    Subquery,
    bindparam,
    literal,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import distinct_on

from service.domain.decisions import Decision, Outcome
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from service.storage.database import Session
from service.storage.group_commit.binary_copy import DECISION_COLUMNS, copy, encode_decisions
from service.storage.group_commit.pipeline import driver_of
from service.storage.lists import (
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
from service.storage.repositories.holds import HoldRepository
from service.storage.repositories.transfers import TransferRepository
from service.storage.rows import DecisionRow
from service.storage.stored_decisions import HOLD_OPERATIONS, read_result

_NOTHING = text("SELECT")

_DECISIONS = DecisionRow.__table__.c


_Storable = Annotated[str, Meta(pattern=r"^[^\x00]*$")]


class Position(Struct, frozen=True, array_like=True):
    """Where a decision stands in a list: when it was taken, whose it is, its key. Cursors carry it."""

    created_at: Annotated[datetime, Meta(tz=True)]
    client_id: _Storable
    idempotency_key: _Storable


def position_of(decision: Decision) -> Position:
    """Return where ``decision`` stands in a list."""
    return Position(decision.created_at, decision.client_id, decision.idempotency_key)


_VALUES = [
    _DECISIONS[name]
    for name in (
        "ledger_id",
        "client_id",
        "idempotency_key",
        "fingerprint",
        "operation",
        "terms",
        "debit_account_id",
        "credit_account_id",
        "created_at",
    )
]
"""What a decision has beside its result, by the names of ``Decision``."""

_SIDES = (_DECISIONS.debit_account_id, _DECISIONS.credit_account_id)
_POSITION = [_DECISIONS[name] for name in Position.__struct_fields__]
_OWN_POSITION = [_DECISIONS.created_at, _DECISIONS.idempotency_key]
"""Where it stands among those of one client."""
_RESULTS = [_DECISIONS[name] for name in ("outcome", "resource_id", "resource", "problem")]


class DecisionRepository:
    """Reads and adds decisions on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def by_key(self, ledger_id: int, client_id: str, idempotency_key: str) -> Decision | None:
        """Return what stands under the client's key."""
        return (await self.by_keys(ledger_id, client_id, [idempotency_key])).get(idempotency_key)

    async def by_keys(self, ledger_id: int, client_id: str, idempotency_keys: Sequence[str]) -> dict[str, Decision]:
        """Return the decisions that stand under the client's keys, by key, with the transfers and holds they name."""
        wanted = each_of(idempotency_keys)
        found = (
            select(*_VALUES, *_RESULTS)
            .where(
                _DECISIONS.ledger_id == ledger_id,
                _DECISIONS.client_id == client_id,
                _DECISIONS.idempotency_key == wanted.c.value,
            )
            .limit(1)
            .lateral()
        )
        rows = (await self._session.execute(select(found).select_from(wanted).join(found, true()))).all()
        made = await self._made(ledger_id, rows)
        return {row.idempotency_key: _decision(row, made.get(row.resource_id)) for row in rows}

    async def add(self, decisions: Iterable[Decision]) -> None:
        """Add ``decisions``.

        Raises the driver's errors: a violation of PK_DECISIONS when a concurrent duplicate has taken a key.
        """
        driver = await driver_of(await self._session.connection())
        if not driver.is_in_transaction():
            # SQLAlchemy begins the transaction with its first statement, and COPY goes past it to the driver.
            await self._session.execute(_NOTHING)
        for rows in encode_decisions(decisions):
            await copy(driver, "decisions", DECISION_COLUMNS, rows)

    async def _made(self, ledger_id: int, rows: Sequence[Row[Any]]) -> Mapping[UUID, Transfer | Hold]:
        """Return the transfers and holds that decisions name, by id."""
        named = [row for row in rows if row.resource is None and row.resource_id is not None]
        hold_ids = [row.resource_id for row in named if row.operation in HOLD_OPERATIONS]
        transfer_ids = [row.resource_id for row in named if row.operation not in HOLD_OPERATIONS]
        holds = await HoldRepository(self._session).by_ids(ledger_id, hold_ids) if hold_ids else ()
        transfers = await TransferRepository(self._session).by_ids(ledger_id, transfer_ids) if transfer_ids else ()
        made: dict[UUID, Transfer | Hold] = {hold.id: hold for hold in holds}
        return made | {transfer.id: transfer for transfer in transfers}

    async def not_applied(
        self,
        ledger_id: int,
        *,
        outcome: Outcome,
        limit: int,
        order: ListOrder,
        after: Position | None,
        client_id: str | None = None,
        account_id: UUID | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
    ) -> Slices[Decision | ScanEnd]:
        """Yield, in slices, up to ``limit`` decisions of ``outcome`` (not applied), in ``order`` of their positions,
        after the position ``after``, created in [created_from, created_to). An account's are looked up on either side,
        each in its own index, and so are a client's. Those of both are sifted from the client's.
        """
        filters = {
            "of_client": client_id,
            "account_id": account_id,
            "created_from": created_from,
            "created_to": created_to,
        }
        given = {name: value for name, value in filters.items() if value is not None}
        if after is not None:
            # It lies in the window already, and an index is entered at one place.
            given.pop("created_from" if order == "asc" else "created_to", None)
            given |= msgspec.structs.asdict(after)
        parameters = {"ledger_id": ledger_id, "outcome": outcome, "limit": limit, **given}
        async for rows in slices(self._session, _not_applied(frozenset(given), order), parameters):
            sifts = {"of_client", "account_id"} <= given.keys()
            if sifts:
                found = matching(rows, _decision, position_of)
                yield found
            else:
                yield [_decision(row) for row in rows]


def _parameter(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return bindparam(column.key, type_=column.type)


_OUTCOME = _parameter(_DECISIONS.outcome)

# Both are said in the text of a query: only then can the partial indexes serve it.
_NOT_APPLIED = (
    _DECISIONS.ledger_id == bindparam("ledger_id", type_=Integer),
    _DECISIONS.outcome != literal("applied", literal_execute=True),
)
_OF_ANY_ACCOUNT = _DECISIONS.client_id != literal("", literal_execute=True)
"""True of every decision. The index of a ledger's serves only who says so: never a query for those of an account or of
a client, which have indexes of their own, however little the planner knows.
"""
_OF_ONE_CLIENT = _DECISIONS.operation != literal("", literal_execute=True)
"""True of every decision, and said for the index of a client's."""


@cache
def _not_applied(filters: frozenset[str], order: ListOrder) -> Select[Any]:
    """Return the query of ``DecisionRepository.not_applied`` with these ``filters``, in ``order``."""
    if "of_client" in filters:
        scan = _listed(filters, order).where(_OF_ONE_CLIENT, only(_DECISIONS.outcome, _OUTCOME))
        scan = scan.order_by(*(ordered(column, order) for column in _OWN_POSITION))
        names = [column.name for column in _OWN_POSITION]
        return sifted(scan, _of_given_account, order, names) if "account_id" in filters else scan.limit(LIMIT)
    if "account_id" not in filters:
        query = _listed(filters, order).where(_OF_ANY_ACCOUNT, only(_DECISIONS.outcome, _OUTCOME))
        return query.order_by(*(ordered(column, order) for column in _POSITION)).limit(LIMIT)
    names = list(Position.__struct_fields__)
    either = merged([_of_account(side, filters, order) for side in _SIDES], names, order)
    # A rejected transfer from an account to itself is found on both sides.
    return either.ext(distinct_on(*(either.selected_columns[name] for name in names)))


def _of_given_account(row: Subquery) -> ColumnElement[bool]:
    return or_(*(row.c[side.name] == bindparam("account_id", type_=side.type) for side in _SIDES))


def _of_account(side: ColumnElement[Any], filters: frozenset[str], order: ListOrder) -> Select[Any]:
    """Return the query for the decisions of an account on ``side`` that ``filters`` ask for, in ``order``."""
    account_id = bindparam("account_id", type_=side.type)
    query = _listed(filters, order).where(side.is_not(None), side == account_id, _DECISIONS.outcome == _OUTCOME)
    return query.order_by(*(ordered(column, order) for column in _POSITION))


def _listed(filters: frozenset[str], order: ListOrder) -> Select[Any]:
    """Return the query for decisions that were not applied, in the window and after the position of ``filters``."""
    position = _OWN_POSITION if "of_client" in filters else _POSITION
    conditions = {
        "of_client": only(_DECISIONS.client_id, bindparam("of_client", type_=_DECISIONS.client_id.type)),
        "idempotency_key": behind(tuple_(*position), tuple_(*map(_parameter, position)), order),
        "created_from": _DECISIONS.created_at >= bindparam("created_from", type_=_DECISIONS.created_at.type),
        "created_to": _DECISIONS.created_at < bindparam("created_to", type_=_DECISIONS.created_at.type),
    }
    return select(*_VALUES, *_RESULTS).where(
        *_NOT_APPLIED, *(condition for name, condition in conditions.items() if name in filters)
    )


def _decision(row: Row[Any], made: Transfer | Hold | None = None) -> Decision:
    values = {column.name: getattr(row, column.name) for column in _VALUES}
    result = read_result(row.operation, row.outcome, resource=row.resource, problem=row.problem, made=made)
    return Decision(**values, result=result)
