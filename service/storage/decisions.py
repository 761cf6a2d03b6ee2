"""The registry of decisions: reading it, and its rows for commands that make a row of their own (ledgers, accounts)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import ARRAY, Select, Text, any_, inspect, literal, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.rejections import Rejection
from service.storage.models import Account, Base, Decision

M = TypeVar("M", bound=Base)


_POSITION = (Decision.created_at, Decision.client_id, Decision.idempotency_key)


_Storable = Annotated[str, Meta(pattern=r"^[^\x00]*$")]


class Position(Struct, frozen=True, array_like=True):
    """Where a decision stands in a list: when it was taken, whose it is, its key. Cursors carry it."""

    created_at: Annotated[datetime, Meta(tz=True)]
    client_id: _Storable
    idempotency_key: _Storable


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
    ) -> Sequence[Decision]:
        """Return up to ``limit`` decisions of ``outcome`` (not applied), newest first, older than ``before``, created
        in [created_from, created_to). An account's are looked up on either side, each in its own index.
        """

        def narrowed(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
            query = query.where(
                Decision.ledger_id == ledger_id,
                # Said in the text of the query: only then can the partial indexes serve it.
                Decision.outcome != literal("applied", literal_execute=True),
                Decision.outcome == outcome,
            )
            if before is not None:
                query = query.where(tuple_(*_POSITION) < tuple_(*msgspec.structs.astuple(before)))
            if created_from is not None:
                query = query.where(Decision.created_at >= created_from)
            if created_to is not None:
                query = query.where(Decision.created_at < created_to)
            return query.order_by(*(column.desc() for column in _POSITION)).limit(limit)

        if account_id is None:
            return (await self._session.scalars(narrowed(select(Decision)))).all()
        sides = (Decision.debit_account_id, Decision.credit_account_id)
        halves = [narrowed(select(*_POSITION).where(side == account_id)).subquery() for side in sides]
        either = union_all(*(select(half) for half in halves)).subquery()
        query = (
            select(Decision)
            .where(
                Decision.ledger_id == ledger_id,
                tuple_(Decision.client_id, Decision.idempotency_key).in_(
                    select(either.c.client_id, either.c.idempotency_key)
                ),
            )
            .order_by(*(column.desc() for column in _POSITION))
            .limit(limit)
        )
        return (await self._session.scalars(query)).all()


async def taken(session: AsyncSession, keys: Sequence[Key]) -> dict[str, Decision]:
    """Return the decisions that stand under ``keys``, by idempotency key; all keys are of one ledger and one client."""
    wanted = literal([key.idempotency_key for key in keys], ARRAY(Text))
    found = await session.scalars(
        select(Decision).where(
            Decision.ledger_id == keys[0].ledger_id,
            Decision.client_id == keys[0].client_id,
            Decision.idempotency_key == any_(wanted),
        )
    )
    return {decision.idempotency_key: decision for decision in found}


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
