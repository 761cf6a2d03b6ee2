"""What lists of transfers can be filtered by, as parameters of a query."""

from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from service.domain.limits import METADATA_ENTRIES_MAX
from service.wire import scalars
from service.wire.times import Time

AccountId = Annotated[UUID | None, QueryParameter(description="Only transfers of this account, on either side.")]
DebitAccountReference = Annotated[
    scalars.Reference | None, QueryParameter(description="Only debits of the account with this reference.")
]
CreditAccountReference = Annotated[
    scalars.Reference | None, QueryParameter(description="Only credits of the account with this reference.")
]
CounterpartyId = Annotated[
    UUID | None, QueryParameter(description="Only with this account on the other side, beside a filter by account.")
]
Reference = Annotated[scalars.Reference | None, QueryParameter(description="Only with this reference.")]
ReferencePrefix = Annotated[
    scalars.ReferencePrefix | None,
    QueryParameter(
        description="Only with a reference that begins so. Without a reference, an account, a hold or a"
        " reversed transfer, the list goes by reference (code point by code point), then by time."
    ),
]
HoldId = Annotated[UUID | None, QueryParameter(description="Only captures of this hold.")]
ReversesId = Annotated[UUID | None, QueryParameter(description="Only reversals of this transfer.")]
CreatedFrom = Annotated[Time | None, QueryParameter(description="The earliest created_at.")]
CreatedTo = Annotated[Time | None, QueryParameter(description="created_at lies before this.")]
EffectiveFrom = Annotated[Time | None, QueryParameter(description="The earliest value date.")]
EffectiveTo = Annotated[Time | None, QueryParameter(description="The value date lies before this.")]
AmountMin = Annotated[scalars.Amount | None, QueryParameter(description="The least amount, in minor units.")]
AmountMax = Annotated[scalars.Amount | None, QueryParameter(description="The largest amount, in minor units.")]
Currency = Annotated[scalars.Currency | None, QueryParameter(description="Only in this currency.")]
Client = Annotated[scalars.ClientName | None, QueryParameter(description="Only posted by this client.")]
Description = Annotated[
    scalars.DescriptionWords | None,
    QueryParameter(
        description="Only with all of these words in the description, in any order. White space and punctuation"
        " stand between words; of letters, A to Z match a to z."
    ),
]
Metadata = Annotated[
    list[scalars.MetadataMember] | None,
    QueryParameter(
        max_length=METADATA_ENTRIES_MAX,
        description="Only with this member in the metadata, `name:value`. Given more than once: with all of them.",
    ),
]
