"""The registry of decisions: reading it, and its rows for commands that make a row of their own (ledgers, accounts)."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import ColumnElement, Integer, Select, bindparam, inspect, literal, select, true, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from service.domain.commands import OpenHold, VoidHold
from service.domain.rejections import Rejection, earlier_request
from service.storage.lists import LIMIT, Slices, each_of, merged, only, slices
from service.storage.models import Account, Base, Decision

M = TypeVar("M", bound=Base)


_DECISIONS = Decision.__table__.c


_Storable = Annotated[str, Meta(pattern=r"^[^\x00]*$")]


class Position(Struct, frozen=True, array_like=True):
    """Where a decision stands in a list: when it was taken, whose it is, its key. Cursors carry it."""

    created_at: Annotated[datetime, Meta(tz=True)]
    client_id: _Storable
    idempotency_key: _Storable


class Refusal(Struct, frozen=True):
    """What the registry shows of a command that was not applied."""

    ledger_id: int
    client_id: str
    idempotency_key: str
    operation: str
    outcome: str
    problem: dict[str, Any] | None
    terms: dict[str, Any] | None
    debit_account_id: UUID | None
    credit_account_id: UUID | None
    created_at: datetime


class Key(Struct, frozen=True, kw_only=True):
    """Where a decision stands, and a digest of the request that it answers."""

    ledger_id: int
    client_id: str
    idempotency_key: str
    fingerprint: bytes
    operation: str


class DecisionRepository:
    """Reads the registry on the session of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_key(self, ledger_id: int, client_id: str, idempotency_key: str) -> Decision | None:
        """Return what stands under the client's key."""
        return await self._session.get(Decision, (ledger_id, client_id, idempotency_key))

    async def refused(
        self,
        ledger_id: int,
        *,
        outcome: str,
        limit: int,
        before: Position | None,
        account_id: UUID | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
    ) -> Slices[Refusal]:
        """Yield, in slices, up to ``limit`` decisions of ``outcome`` (not applied), newest first, older than
        ``before``, created in [created_from, created_to). An account's are looked up on either side, each in its own
        index.
        """
        filters = {"account_id": account_id, "created_from": created_from, "created_to": created_to}
        given = {name: value for name, value in filters.items() if value is not None}
        if before is not None:
            # It lies in the window already, and an index is entered at one place.
            given.pop("created_to", None)
            given |= msgspec.structs.asdict(before)
        parameters = {"ledger_id": ledger_id, "outcome": outcome, "limit": limit, **given}
        async for rows in slices(self._session, _refused(frozenset(given)), parameters):
            yield [Refusal(*row) for row in rows]


@cache
def _refused(filters: frozenset[str]) -> Select[Any]:
    """Return the query of ``DecisionRepository.refused`` with these ``filters``."""

    def parameter(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return bindparam(name, type_=column.type)

    position = [_DECISIONS[name] for name in Position.__struct_fields__]
    conditions = {
        "idempotency_key": tuple_(*position) < tuple_(*(parameter(column.name, column) for column in position)),
        "created_from": _DECISIONS.created_at >= parameter("created_from", _DECISIONS.created_at),
        "created_to": _DECISIONS.created_at < parameter("created_to", _DECISIONS.created_at),
    }
    query = (
        select(*(_DECISIONS[name] for name in Refusal.__struct_fields__))
        .where(
            _DECISIONS.ledger_id == bindparam("ledger_id", type_=Integer),
            # Said in the text of the query: only then can the partial indexes serve it.
            _DECISIONS.outcome != literal("applied", literal_execute=True),
            only(_DECISIONS.outcome, parameter("outcome", _DECISIONS.outcome)),
            *(condition for name, condition in conditions.items() if name in filters),
        )
        .order_by(*(column.desc() for column in position))
    )
    if "account_id" not in filters:
        return query.limit(LIMIT)
    account = parameter("account_id", _DECISIONS.debit_account_id)
    sides = (_DECISIONS.debit_account_id, _DECISIONS.credit_account_id)
    either = merged([query.where(only(side, account)) for side in sides], Position.__struct_fields__)
    # A refusal to move from an account to itself is on both sides.
    return either.ext(distinct_on(*(either.selected_columns[name] for name in Position.__struct_fields__)))


async def taken(session: AsyncSession, keys: Sequence[Key]) -> dict[str, Decision]:
    """Return the decisions that stand under ``keys``, by idempotency key; all keys are of one ledger and one client."""
    wanted = each_of(key.idempotency_key for key in keys)
    standing = select(Decision).where(
        Decision.ledger_id == keys[0].ledger_id,
        Decision.client_id == keys[0].client_id,
        Decision.idempotency_key == wanted.c.value,
    )
    found = aliased(Decision, standing.limit(1).lateral())
    decisions = await session.scalars(select(found).select_from(wanted).join(found, true()))
    return {decision.idempotency_key: decision for decision in decisions}


def applied(key: Key, row: Base, created_at: datetime) -> Decision:
    """Return the decision that made ``row``; it keeps the row as it is now, for the row may change later."""
    state = {attribute.key: getattr(row, attribute.key) for attribute in inspect(type(row)).column_attrs}
    return Decision(
        **msgspec.structs.asdict(key),
        outcome="applied",
        resource_id=row.id if isinstance(row, Account) else None,
        resource=msgspec.to_builtins(state),
        created_at=created_at,
    )


def rejected(key: Key, rejection: Rejection, created_at: datetime) -> Decision:
    """Return the decision that refused."""
    return Decision(
        **msgspec.structs.asdict(key),
        outcome="rejected",
        problem=msgspec.to_builtins(rejection),
        created_at=created_at,
    )


def answer(decision: Decision, model: type[M]) -> M | Rejection:
    """Return what ``decision`` answered: its rejection, or the row of ``model`` as it was when it was made."""
    if decision.problem is not None:
        return msgspec.convert(decision.problem, Rejection)
    state: dict[str, Any] = decision.resource or {}
    return model(
        **{
            attribute.key: value and msgspec.convert(value, attribute.columns[0].type.python_type)
            for attribute in inspect(model).column_attrs
            for value in [state.get(attribute.key)]
        }
    )


def standing(decision: Decision) -> dict[str, str]:
    """Return what a caller is told of ``decision`` who asks for something else under its key."""
    resource: dict[str, object] = {}
    if decision.outcome == "applied":
        resource = {_RESOURCES.get(decision.operation, "transfer_id"): decision.resource_id}
        if decision.operation == "create_ledger":
            resource = {"ledger": (decision.resource or {})["name"]}
    return earlier_request(
        operation=decision.operation,
        outcome=decision.outcome,
        decided_at=decision.created_at,
        code=None if decision.problem is None else decision.problem["code"],
        **resource,
    )


_RESOURCES = {
    OpenHold.operation: "hold_id",
    VoidHold.operation: "hold_id",
    "create_account": "account_id",
    "revise_account": "account_id",
}
"""What the decisions on an operation name, where it is no transfer."""
