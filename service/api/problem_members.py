"""The members by which problems explain themselves (RFC 9457, section 3.2: extension members)."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType


class Fault(Struct, frozen=True):
    """One thing that is wrong with a request."""

    pointer: Annotated[
        str,
        Meta(description="A JSON pointer (RFC 6901) into the body; under /query, /header or /path for parameters."),
    ]
    reason: str


class EarlierRequest(Struct, kw_only=True, frozen=True):
    """The request that an idempotency key stands for."""

    operation: Annotated[str, Meta(description="What the key was used for.", examples=["post_transfer"])]
    outcome: Annotated[
        Literal["applied", "rejected", "fenced"],
        Meta(description="applied: it was carried out and stands. rejected, fenced: nothing was or will be applied."),
    ]
    decided_at: datetime
    transfer_id: Annotated[UUID | UnsetType, Meta(description="The transfer that it made.")] = UNSET
    hold_id: Annotated[UUID | UnsetType, Meta(description="The hold that it opened or voided.")] = UNSET
    account_id: Annotated[UUID | UnsetType, Meta(description="The account that it opened or revised.")] = UNSET
    ledger: Annotated[str | UnsetType, Meta(description="The ledger that it created.")] = UNSET
    code: Annotated[str | UnsetType, Meta(description="rejected: the code of its problem.")] = UNSET
    path: Annotated[
        str | UnsetType,
        Meta(description="Where to read it: what it made, or the key. Absent for a ledger that was not created."),
    ] = UNSET


class ProblemMembers(Struct, kw_only=True, frozen=True):
    """Every member that explains some kind of problem; amounts are in minor units. None is always there."""

    errors: Annotated[list[Fault] | UnsetType, Meta(description="malformed_request: every fault.")] = UNSET
    required_scope: Annotated[str | UnsetType, Meta(description="forbidden: what the token lacks.")] = UNSET
    idempotency_key: str | UnsetType = UNSET
    earlier_request: Annotated[
        EarlierRequest | UnsetType,
        Meta(description="idempotency_key_reused, key_fenced: what stands under the key."),
    ] = UNSET
    refused_idempotency_key: Annotated[
        str | UnsetType, Meta(description="batch_rejected: the item that was refused.")
    ] = UNSET
    refused_code: Annotated[str | UnsetType, Meta(description="batch_rejected: why that item was refused.")] = UNSET
    posted: Annotated[
        int | UnsetType,
        Meta(description="batch_rejected: how many items are posted. balance_overflow: the counter, without holds."),
    ] = UNSET
    rejected: Annotated[int | UnsetType, Meta(description="batch_rejected: how many items were refused.")] = UNSET
    results: Annotated[
        list[Any] | UnsetType,
        Meta(
            description="batch_rejected: what became of each item, in order.",
            extra_json_schema={"items": {"$ref": "#/components/schemas/BatchResult"}},
        ),
    ] = UNSET
    checks: Annotated[
        dict[str, Any] | UnsetType,
        Meta(
            description="not_ready: the service's parts.",
            extra_json_schema={"additionalProperties": {"$ref": "#/components/schemas/Check"}},
        ),
    ] = UNSET

    account_id: Annotated[UUID | UnsetType, Meta(description="The account that the rule was about.")] = UNSET
    transfer_id: UUID | UnsetType = UNSET
    hold_id: UUID | UnsetType = UNSET
    reverses_id: UUID | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    currency: Annotated[str | UnsetType, Meta(description="What was asked for.")] = UNSET
    account_currency: str | UnsetType = UNSET

    amount: Annotated[int | UnsetType, Meta(description="What was to be moved.")] = UNSET
    balance: int | UnsetType = UNSET
    held: Annotated[int | UnsetType, Meta(description="What open holds reserve.")] = UNSET
    available_balance: int | UnsetType = UNSET
    minimum_balance: int | UnsetType = UNSET
    maximum_balance: int | UnsetType = UNSET
    debits_held: int | UnsetType = UNSET
    credits_held: int | UnsetType = UNSET
    shortfall: Annotated[int | UnsetType, Meta(description="insufficient_funds: how much is missing.")] = UNSET
    excess: Annotated[int | UnsetType, Meta(description="How much of the amount is too much.")] = UNSET
    side: Annotated[str | UnsetType, Meta(description="balance_overflow: whose counter is full.")] = UNSET
    transfer_amount: int | UnsetType = UNSET
    reversed_amount: int | UnsetType = UNSET
    hold_status: str | UnsetType = UNSET
    hold_amount: int | UnsetType = UNSET
    captured_amount: int | UnsetType = UNSET

    field: Annotated[str | UnsetType, Meta(description="time_out_of_range: where the time stands.")] = UNSET
    value: datetime | UnsetType = UNSET
    earliest: datetime | UnsetType = UNSET
    latest: datetime | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET

    last_change: Annotated[datetime | UnsetType, Meta(description="clock_behind: when the account last changed.")] = (
        UNSET
    )
    clock: Annotated[datetime | UnsetType, Meta(description="clock_behind: the database's clock.")] = UNSET
    ahead_seconds: Annotated[
        float | UnsetType, Meta(description="clock_behind: how far the account's last change lies ahead of the clock.")
    ] = UNSET

    version: Annotated[int | UnsetType, Meta(description="version_not_reached: where the account is.")] = UNSET
    min_version: Annotated[int | UnsetType, Meta(description="version_not_reached: what was asked for.")] = UNSET
