"""What a caller is told of the request that an idempotency key stands for."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType


class EarlierRequest(Struct, frozen=True, kw_only=True):
    """The request that an idempotency key stands for. ``code`` is there when it was rejected, the others name what it
    made or changed when it was applied.
    """

    operation: Annotated[str, Meta(description="What the key was used for.", examples=["post_transfer"])]
    outcome: Annotated[
        Literal["applied", "rejected", "fenced"],
        Meta(description="applied: it was carried out and stands. rejected, fenced: nothing was or will be applied."),
    ]
    decided_at: datetime
    code: Annotated[str | UnsetType, Meta(description="rejected: the code of its problem.")] = UNSET
    transfer_id: Annotated[UUID | UnsetType, Meta(description="The transfer that it made.")] = UNSET
    hold_id: Annotated[UUID | UnsetType, Meta(description="The hold that it opened or voided.")] = UNSET
    account_id: Annotated[UUID | UnsetType, Meta(description="The account that it opened or revised.")] = UNSET
    ledger: Annotated[str | UnsetType, Meta(description="The ledger that it created.")] = UNSET

    closing_id: Annotated[UUID | UnsetType, Meta(description="The closing that it made.")] = UNSET

    def made(self) -> str:
        """Return what an applied request made or changed, in words."""
        things = {
            "transfer": self.transfer_id,
            "hold": self.hold_id,
            "account": self.account_id,
            "ledger": self.ledger,
            "closing": self.closing_id,
        }
        return next(f"{kind} {name}" for kind, name in things.items() if name is not UNSET)
