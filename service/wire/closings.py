"""Closings of a ledger's periods: the request for one, and how one is shown."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from .scalars import Description
from .times import Time

LateEntries = Literal["reject", "forward"]


class ClosingRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Up to where to close a ledger. An earlier date than that of the closing in force opens a period again, null opens
    all: that needs a reason.
    """

    closed_until: Annotated[
        Time | None, Meta(description="The first value date that stays open; not in the future. null: all are open.")
    ]
    late_entries: Annotated[
        LateEntries,
        Meta(
            description="What becomes of a transfer that is dated into the closed period. `reject`: it is rejected with"
            " `period_closed`. `forward`: it is dated `closed_until`, and shows its `requested_effective_at`."
        ),
    ] = "reject"
    reason: Description | None = None


class ClosingView(Struct, kw_only=True, frozen=True):
    """A closing: the latest one of a ledger is in force."""

    id: Annotated[UUID, Meta(description="Its entry in the ledger's history.")]
    ledger: str
    closed_until: Annotated[Time | None, Meta(description="Value dates before are closed; null: none are.")]
    late_entries: LateEntries
    reason: str | None
    client: Annotated[str, Meta(description="Who closed it.")]
    created_at: Time
