"""Statements of accounts."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, field

from .accounts import NormalSide
from .times import Time

Axis = Literal["recorded", "value"]


class CheckpointRef(Struct, frozen=True, kw_only=True):
    """A checkpoint of the ledger's log, which proves each line that is sealed in it."""

    size: Annotated[int, Meta(description="How many entries the log has.")]
    root: Annotated[str, Meta(description="The root of its tree, in Base64, as its note has it.")]


class StatementLine(Struct, frozen=True, kw_only=True):
    """A transfer, as the statement of one of its accounts shows it."""

    transfer_id: Annotated[UUID, Meta(description="Also the id of its entry in the ledger's history.")]
    log_index: Annotated[
        int | None, Meta(description="The number of its entry in the ledger's log, from 0; null until it is sealed.")
    ]
    version: Annotated[int, Meta(description="The account's, after it.")]
    created_at: Annotated[Time, Meta(description="When it was recorded.")]
    effective_at: Annotated[Time, Meta(description="The value date.")]
    requested_effective_at: Annotated[
        Time | UnsetType,
        Meta(description="The value date that was asked for, in a closed period. Absent from other lines."),
    ] = UNSET
    counterparty_id: UUID
    counterparty_reference: str | None
    counterparty_name: str | None
    amount: Annotated[int, Meta(description="On the account's normal side, in minor units: negative where it falls.")]
    balance: Annotated[int, Meta(description="After it, in the order of the statement.")]
    reference: str | None
    description: str | None
    hold_id: UUID | None
    reverses_id: UUID | None
    client: Annotated[str, Meta(description="Who posted it.")]


class StatementView(Struct, frozen=True, kw_only=True):
    """A page of a statement. `opening_balance` and all lines of all pages add up to `closing_balance`."""

    account_id: UUID
    ledger: str
    reference: str | None
    name: str | None
    currency: str
    normal_side: NormalSide
    axis: Annotated[Axis, Meta(description="By what transfers fall into the period, and are ordered.")]
    start: Annotated[Time, Meta(description="Where the period begins, inclusive.")] = field(name="from")
    end: Annotated[Time, Meta(description="Where the period ends, exclusive.")] = field(name="to")
    known_at: Annotated[
        Time,
        Meta(description="Up to when what was recorded counts, on all pages: the time asked for, or the last change."),
    ]
    opening_balance: Annotated[int, Meta(description="Before the period.")]
    closing_balance: Annotated[int, Meta(description="At the end of the period.")]
    checkpoint: Annotated[CheckpointRef | None, Meta(description="The latest one; null where there is none yet.")]
    items: list[StatementLine]
    next_cursor: str | None
