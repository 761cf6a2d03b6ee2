"""The events of a ledger, as its feed sends the entries of its history: CloudEvents 1.0, each type with its data.

The documents themselves are written by PostgreSQL (docs/history.md); these types describe them, for clients.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from .accounts import AccountStatus, NormalSide
from .closings import LateEntries
from .pages import Page
from .times import Time


class Event(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What happened, as a CloudEvents 1.0 object."""

    client: Annotated[str | None, Meta(description="Who did it; null where the service itself or an operator did.")]
    id: Annotated[UUID, Meta(description="Rises along the ledger, in the order of commits.")]
    idempotencykey: Annotated[str | None, Meta(description="Under which key.")]
    requestid: Annotated[
        str | None,
        Meta(description="The `X-Request-Id` of the request's answer; null where the service itself did it."),
    ]
    source: Annotated[str, Meta(description="Where: the path of the ledger; `/v1` for ledgers and tokens themselves.")]
    specversion: Literal["1.0"]
    subject: Annotated[UUID | None, Meta(description="What it happened to: transfer, hold, account or token.")]
    time: Annotated[Time, Meta(description="Its place in the order, as a time.")]


class TransferPostedData(Struct, frozen=True, kw_only=True):
    """A transfer. With `hold_id` it is a capture, with `reverses_id` a reversal."""

    amount: int
    credit_account_id: UUID
    credit_account_version: int
    credit_balance_after: int
    currency: str
    debit_account_id: UUID
    debit_account_version: int
    debit_balance_after: int
    description: str | None
    effective_at: Time
    group_id: UUID | None
    hold_id: UUID | None
    metadata: dict[str, str]
    reference: str | None
    requested_effective_at: Annotated[
        Time | UnsetType, Meta(description="The value date that was asked for, where it was dated forward.")
    ] = UNSET
    reverses_id: UUID | None


class HoldOpenedData(Struct, frozen=True, kw_only=True):
    """A hold as it was opened."""

    amount: int
    credit_account_id: UUID
    credit_account_version: int
    currency: str
    debit_account_id: UUID
    debit_account_version: int
    description: str | None
    expires_at: Time
    group_id: UUID | None
    metadata: dict[str, str]
    reference: str | None


class HoldClosedData(Struct, frozen=True, kw_only=True):
    """The end of a hold: what was captured of it in all, what was released unused, the versions of its accounts."""

    captured_amount: int
    credit_account_version: int
    debit_account_version: int
    released_amount: int


class AccountOpenedData(Struct, frozen=True, kw_only=True):
    """An account as it was opened; `code` is absent where there were no codes yet."""

    code: str | None | UnsetType = UNSET
    currency: str
    maximum_balance: int | None
    metadata: dict[str, str]
    minimum_balance: int | None
    name: str | None
    normal_side: NormalSide
    reference: str | None


class RevisedValues(Struct, frozen=True, kw_only=True):
    """Of an account, the values of what a revision changed; what it did not is absent."""

    code: str | None | UnsetType = UNSET
    maximum_balance: int | None | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    minimum_balance: int | None | UnsetType = UNSET
    name: str | None | UnsetType = UNSET
    status: AccountStatus | UnsetType = UNSET


class AccountRevisedData(Struct, frozen=True, kw_only=True):
    """What a revision changed."""

    after: RevisedValues
    before: RevisedValues


class RejectedProblem(Struct, frozen=True, kw_only=True):
    """Why a command was rejected: the `code` of the problem, the sentence, the numbers behind it."""

    code: str
    detail: str
    members: dict[str, Any]


class CommandRejectedData(Struct, frozen=True, kw_only=True):
    """What was rejected, and why."""

    operation: Annotated[str, Meta(examples=["post_transfer"])]
    problem: RejectedProblem
    terms: Annotated[dict[str, Any] | None, Meta(description="What had been asked for.")]


class KeyFencedData(Struct, frozen=True):
    """Nothing: the event names the key."""


class LedgerCreatedData(Struct, frozen=True, kw_only=True):
    """A ledger as it was created."""

    description: str | None
    name: str


class TokenCreatedData(Struct, frozen=True, kw_only=True):
    """What a token proves."""

    by: Annotated[str | None, Meta(description="The database's login of the operator; null where it was not kept yet.")]
    client: str
    debit_accounts: Annotated[
        list[UUID] | None | UnsetType,
        Meta(description="The accounts that it may debit, beside those of `debit_codes`; both null: any."),
    ] = UNSET
    debit_codes: Annotated[
        list[str] | None | UnsetType, Meta(description="The codes whose accounts, and those behind, it may debit.")
    ] = UNSET
    expires_at: Time | None
    is_certificate: Annotated[
        bool | UnsetType, Meta(description="Whether it is a certificate, which a proxy passes on.")
    ] = UNSET
    ledgers: Annotated[list[str] | None, Meta(description="Their names; null is every ledger.")]
    scopes: list[str]
    token_digest: Annotated[
        str, Meta(description="The SHA-256, in hexadecimal, of the SHA-256 of the token: which one it is, and no more.")
    ]


class TokenRevokedData(Struct, frozen=True, kw_only=True):
    """Whose token was revoked."""

    by: Annotated[str | None, Meta(description="The database's login of the operator.")]
    client: str


class PeriodClosedData(Struct, frozen=True, kw_only=True):
    """Up to where the ledger is closed from then on."""

    closed_until: Annotated[Time | None, Meta(description="Value dates before are closed; null: none are.")]
    late_entries: LateEntries
    reason: str | None


class EntryWithheldData(Struct, frozen=True, kw_only=True):
    """What the token may see of the entry."""

    leaf_hash: Annotated[
        str, Meta(description="The hash of the entry as a leaf of the log: SHA-256, 32 bytes, in base64.")
    ]


class TransferPostedEvent(Event, frozen=True, kw_only=True, tag="funds.transfer.posted"):
    """A transfer was posted."""

    data: TransferPostedData


class HoldOpenedEvent(Event, frozen=True, kw_only=True, tag="funds.hold.opened"):
    """A hold was opened."""

    data: HoldOpenedData


class HoldCapturedEvent(Event, frozen=True, kw_only=True, tag="funds.hold.captured"):
    """A hold met its end by its final capture, which is the transfer before it."""

    data: HoldClosedData


class HoldVoidedEvent(Event, frozen=True, kw_only=True, tag="funds.hold.voided"):
    """A hold was voided."""

    data: HoldClosedData


class HoldExpiredEvent(Event, frozen=True, kw_only=True, tag="funds.hold.expired"):
    """A hold past its time was freed."""

    data: HoldClosedData


class AccountOpenedEvent(Event, frozen=True, kw_only=True, tag="funds.account.opened"):
    """An account was opened."""

    data: AccountOpenedData


class AccountRevisedEvent(Event, frozen=True, kw_only=True, tag="funds.account.revised"):
    """An account was revised, frozen, closed or opened again."""

    data: AccountRevisedData


class CommandRejectedEvent(Event, frozen=True, kw_only=True, tag="funds.command.rejected"):
    """The rules rejected what was asked for, which is remembered under its key."""

    data: CommandRejectedData


class KeyFencedEvent(Event, frozen=True, kw_only=True, tag="funds.key.fenced"):
    """A key was made unusable."""

    data: KeyFencedData


class LedgerCreatedEvent(Event, frozen=True, kw_only=True, tag="funds.ledger.created"):
    """A ledger was created: the first event of its own history, and one of the installation's."""

    data: LedgerCreatedData


class TokenCreatedEvent(Event, frozen=True, kw_only=True, tag="funds.token.created"):
    """A token was created."""

    data: TokenCreatedData


class TokenRevokedEvent(Event, frozen=True, kw_only=True, tag="funds.token.revoked"):
    """A token was revoked."""

    data: TokenRevokedData


class PeriodClosedEvent(Event, frozen=True, kw_only=True, tag="funds.period.closed"):
    """The ledger was closed up to a value date."""

    data: PeriodClosedData


class PeriodReopenedEvent(Event, frozen=True, kw_only=True, tag="funds.period.reopened"):
    """A closed period was opened again, all of it or its end."""

    data: PeriodClosedData


class EntryWithheldEvent(Event, frozen=True, kw_only=True, tag="funds.entry.withheld"):
    """Stands in the place of an entry that the token may not see: another client's request was rejected, or its key
    fenced. `client`, `idempotencykey`, `requestid` and `subject` are null. Tokens with the scope `audit` see the entry.
    """

    data: EntryWithheldData


AnyEvent = (
    TransferPostedEvent
    | HoldOpenedEvent
    | HoldCapturedEvent
    | HoldVoidedEvent
    | HoldExpiredEvent
    | AccountOpenedEvent
    | AccountRevisedEvent
    | CommandRejectedEvent
    | KeyFencedEvent
    | LedgerCreatedEvent
    | TokenCreatedEvent
    | TokenRevokedEvent
    | PeriodClosedEvent
    | PeriodReopenedEvent
    | EntryWithheldEvent
)


AccountEvent = AccountOpenedEvent | AccountRevisedEvent


class AccountHistoryPage(Page[AccountEvent], frozen=True):
    """One page of the history of an account. `next_cursor` is null on the last page, but in rising order (`order=asc`),
    where it finds what comes later.
    """


class EventPage(Struct, frozen=True):
    """The next events of a ledger, oldest first. Large ones make a page shorter, at about 1 MiB."""

    items: list[AnyEvent]
    last_id: Annotated[
        UUID | None,
        Meta(description="Where to go on: send it as `after`. Of a page without items, the `after` that was sent."),
    ]
