"""Idempotency keys: what is told of one."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .closings import ClosingView
from .problems import StoredProblem
from .times import Time
from .views import AccountView, HoldView, TransferView

KeyStatus = Literal["applied", "rejected", "fenced", "never_seen"]


class KeyView(Struct, kw_only=True, frozen=True):
    """What stands under an idempotency key of the calling client in this ledger.

    `never_seen`: nothing was decided under it so far; a request on its way may still be. After `fenced` nothing ever
    will be. What was applied is shown as it was answered.
    """

    idempotency_key: str
    outcome: KeyStatus
    operation: Annotated[str | None, Meta(description="What the key was used for.", examples=["post_transfer"])] = None
    decided_at: Time | None = None
    transfer: TransferView | UnsetType = UNSET
    hold: HoldView | UnsetType = UNSET
    account: AccountView | UnsetType = UNSET
    closing: ClosingView | UnsetType = UNSET
    problem: StoredProblem | UnsetType = UNSET
