"""Batches: the request that posts one, and what became of its items."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ..domain import limits
from .problems import ItemProblem
from .scalars import ExpirySeconds, GroupName, IdempotencyKey
from .times import WrittenTime
from .transfers import TransferRequest
from .views import HoldView, TransferView


class HoldTerms(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """When a hold expires, as in a request to open one."""

    expires_at: WrittenTime | None = None
    expires_in_seconds: ExpirySeconds | None = None


class BatchItem(TransferRequest, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """One transfer of a batch, under a key of its own; with `hold`, one hold to open instead."""

    idempotency_key: IdempotencyKey
    group: GroupName | None = None
    hold: HoldTerms | None = None


ITEMS_MAX = limits.TRANSACTION_COMMANDS_MAX
BatchItems = Annotated[list[BatchItem], Meta(min_length=1, max_length=ITEMS_MAX)]
BatchMode = Literal["independent", "atomic"]


class BatchRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Transfers to post in this order. `atomic`: all of them or none. `independent`: each item or group by itself."""

    transfers: BatchItems
    mode: BatchMode = "independent"


class BatchResult(Struct, kw_only=True, frozen=True, gc=False):
    """What became of one item: its transfer or hold, or the problem that a request of its own would have met."""

    idempotency_key: str
    status: int
    replayed: bool
    transfer: TransferView | UnsetType = UNSET
    hold: HoldView | UnsetType = UNSET
    problem: ItemProblem | UnsetType = UNSET


class BatchView(Struct, kw_only=True, frozen=True):
    """The results of a batch, in the order of its items."""

    posted: int
    rejected: int
    results: list[BatchResult]
