"""The registry's rows for commands that make a row of their own (ledgers, accounts)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import ARRAY, Text, any_, inspect, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain.rejections import Rejection
from service.storage.models import Account, Base, Decision

M = TypeVar("M", bound=Base)


class Key(Struct, frozen=True, kw_only=True):
    """Where a decision stands, and a digest of the request that it answers."""

    ledger_id: int
    client_id: str
    idempotency_key: str
    fingerprint: bytes
    operation: str


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
