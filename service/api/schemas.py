"""What travels over the wire: requests and answers, with their bounds."""

import re
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Literal, cast
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from service.api.expectations import expecting
from service.api.values import OUTSIDE_CALENDAR, RULE
from service.domain import limits
from service.domain.accounts import AccountDetails
from service.domain.holds import Hold
from service.domain.texts import name_fault, prose_fault
from service.domain.transfers import Transfer
from service.storage import models
from service.storage.accounts import details
from service.storage.transfers import as_fact

# What the document says of the rules in domain/texts.py, as far as a regular expression can. Python's `$` matches
# before a line's end, too.
_UNSEEN = (
    r"\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
)
_NAME_SCHEMA = {"pattern": rf"^(?! )[^{_UNSEEN}]+(?<! )(?!\n)$"}
_PROSE_SCHEMA = {
    "pattern": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]*$"
}
_NAME_RULE, _PROSE_RULE = {RULE: name_fault}, {RULE: prose_fault}
# Python's `$` matches before a line's end, too.
LEDGER_NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}(?!\n)$"
LEDGER_NAME_WORDS = (
    'the name of a ledger, 1 to 63 lower-case letters, digits, "-" and "_" that begin with a letter or digit, such as'
    ' "main"'
)

# A fraction of a second with more digits than PostgreSQL's six would be rounded, even into the next day.
_TIME_PATTERN = r"^[^.]*(\.[0-9]{1,6}([^0-9.][^.]*)?)?$"
_LEAP_SECOND = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.[0-9]{2}:[0-9]{2}:60")
_TIME_WORDS = (
    'a time with its date and its offset from UTC (RFC 3339), such as "2026-11-26T09:30:00Z" or'
    ' "2026-11-26T09:30:00.123456+01:00", with no more than six digits of a second'
)

Amount = Annotated[
    int,
    expecting(
        f"a whole number of minor units from 1 to {limits.INT64_MAX}, such as 1050 for 10.50 USD",
        ge=1,
        le=limits.INT64_MAX,
        description="In minor units of the currency: 1050 USD is $10.50.",
    ),
]
Balance = Annotated[
    int,
    expecting(
        f"a whole number of minor units from -{limits.INT64_MAX} to {limits.INT64_MAX}, such as -5000 for -50.00 USD",
        ge=-limits.INT64_MAX,
        le=limits.INT64_MAX,
        description="In minor units.",
    ),
]
Currency = Annotated[
    str,
    expecting(
        'a currency of ISO 4217, three capital letters, such as "USD"',
        min_length=3,
        max_length=3,
        pattern="^[A-Z]{3}$",
        description="ISO 4217 code.",
        examples=["USD"],
    ),
]
Name = Annotated[
    str,
    expecting(
        f'a text of 1 to {limits.NAME_LENGTH_MAX} visible characters, such as "Ada Lovelace"',
        min_length=1,
        max_length=limits.NAME_LENGTH_MAX,
        description="Visible characters in normalization form C (NFC), with no white space but U+0020, and none at"
        " the ends.",
        extra_json_schema=_NAME_SCHEMA,
        extra=_NAME_RULE,
    ),
]
Reference = Annotated[
    str,
    expecting(
        f'a text of 1 to {limits.REFERENCE_LENGTH_MAX} visible characters, such as "invoice-17"',
        min_length=1,
        max_length=limits.REFERENCE_LENGTH_MAX,
        description="The caller's own name for it: visible characters in normalization form C (NFC), with no white"
        " space but U+0020, and none at the ends.",
        extra_json_schema=_NAME_SCHEMA,
        extra=_NAME_RULE,
    ),
]
Description = Annotated[
    str,
    expecting(
        f'a text of at most {limits.DESCRIPTION_LENGTH_MAX} characters, such as "Rent for May"',
        max_length=limits.DESCRIPTION_LENGTH_MAX,
        description="Free text. Of control characters only tabs and line ends; no bidirectional overrides.",
        extra_json_schema=_PROSE_SCHEMA,
        extra=_PROSE_RULE,
    ),
]
MetadataName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.METADATA_KEY_LENGTH_MAX,
        extra_json_schema=_NAME_SCHEMA,
        extra=_NAME_RULE,
    ),
]
MetadataValue = Annotated[
    str, Meta(max_length=limits.METADATA_VALUE_LENGTH_MAX, extra_json_schema=_PROSE_SCHEMA, extra=_PROSE_RULE)
]
Metadata = Annotated[
    dict[MetadataName, MetadataValue],
    expecting(
        f"an object of at most {limits.METADATA_ENTRIES_MAX} members, whose names are texts of 1 to"
        f" {limits.METADATA_KEY_LENGTH_MAX} visible characters and whose values are texts of at most"
        f' {limits.METADATA_VALUE_LENGTH_MAX}, such as {{"invoice": "17"}}',
        max_length=limits.METADATA_ENTRIES_MAX,
        description="Text by name, for the caller's own use. Names keep the rules of references, values those of"
        " descriptions.",
    ),
]
GroupName = Annotated[
    str,
    expecting(
        f'a text of 1 to {limits.REFERENCE_LENGTH_MAX} visible characters, such as "fx-17"',
        min_length=1,
        max_length=limits.REFERENCE_LENGTH_MAX,
        description="Items of one group apply together or not at all, in the place of the group's first item. A name"
        " keeps the rules of references.",
        extra_json_schema=_NAME_SCHEMA,
        extra=_NAME_RULE,
    ),
]
LedgerName = Annotated[
    str,
    expecting(
        LEDGER_NAME_WORDS,
        pattern=LEDGER_NAME_PATTERN,
        description="1–63 lower-case letters, digits, `-` and `_`.",
        examples=["main"],
    ),
]
NormalSide = Literal["credit", "debit"]
AccountStatus = Literal["open", "frozen", "closed"]
Version = Annotated[int, Meta(ge=0, le=limits.INT64_MAX)]
Time = Annotated[
    datetime,
    expecting(_TIME_WORDS, tz=True, description="RFC 3339.", extra_json_schema={"pattern": _TIME_PATTERN}),
]


def read_time(text: str) -> datetime:
    """Return the time that a request writes as ``text``. Raises msgspec.ValidationError for what is none, and for more
    digits of a second than are kept.
    """
    return msgspec.convert(msgspec.convert(text, _Digits), Time)


def time_reason(text: str) -> str:
    """Return why ``text``, which is no time to ``read_time``, is none, and what to send."""
    if _LEAP_SECOND.match(text):
        return "a leap second cannot be kept; send the second before it (:59) or after it (:00)"
    return f"this must be {_TIME_WORDS}"


def _time_fault(text: str) -> str | None:
    try:
        read_time(text).astimezone(UTC)
    except msgspec.ValidationError:
        return time_reason(text)
    except OverflowError:
        return OUTSIDE_CALENDAR
    return None


_Digits = Annotated[str, Meta(min_length=1, pattern=_TIME_PATTERN)]
WrittenTime = Annotated[
    _Digits,
    expecting(
        _TIME_WORDS,
        description="RFC 3339.",
        extra_json_schema={"format": "date-time"},
        extra={RULE: _time_fault},
    ),
]
"""A time as a request writes it: as a text its digits can still be counted. ``read_time`` reads it."""
ValueDate = Annotated[
    WrittenTime,
    Meta(
        description="RFC 3339. The value date, when it is not now. An installation bounds how far it may lie; it never"
        " lies before the day (UTC) on which an account was opened, a capture's not before its hold was opened, a"
        " reversal's not before the value date of its transfer. Left out, it is now, or the earliest that is possible"
        " if that comes later (the reversal of a transfer whose value date lies ahead).",
    ),
]
ExpirySeconds = Annotated[
    int,
    expecting(
        f"a whole number of seconds from 1 to {limits.HOLD_SECONDS_MAX}, such as 3600",
        ge=1,
        le=limits.HOLD_SECONDS_MAX,
    ),
]
HoldStatus = Literal["open", "captured", "voided", "expired"]
KeyOutcome = Literal["applied", "rejected", "fenced", "never_seen"]


class LedgerRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A ledger to create."""

    name: LedgerName
    description: Description | None = None


class LedgerView(Struct, kw_only=True, frozen=True):
    """A ledger: a closed book."""

    name: str
    description: str | None
    created_at: Time


class AccountRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An account to open. A bound that is null or absent is no bound; a minimum of 0 forbids overdraft."""

    currency: Currency
    reference: Reference | None = None
    name: Name | None = None
    normal_side: NormalSide = "credit"
    minimum_balance: Balance | None = None
    maximum_balance: Balance | None = None
    metadata: Metadata = {}


class AccountPatch(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change of an account: an absent member stays as it is, null removes a value."""

    name: Name | None | UnsetType = UNSET
    minimum_balance: Balance | None | UnsetType = UNSET
    maximum_balance: Balance | None | UnsetType = UNSET
    status: AccountStatus | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class AccountView(Struct, kw_only=True, frozen=True, gc=False):
    """An account with its counters and balances, in minor units of its currency."""

    id: UUID
    ledger: str
    reference: str | None
    name: str | None
    currency: str
    normal_side: NormalSide
    minimum_balance: int | None
    maximum_balance: int | None
    status: AccountStatus
    debits_posted: int
    credits_posted: int
    debits_held: int
    credits_held: int
    balance: int
    available_balance: Annotated[
        int,
        Meta(
            description="The balance less what open holds reserve. One past its time counts until it is freed: within a"
            " second, or at once by whatever needs the room."
        ),
    ]
    version: Annotated[int, Meta(description="Counts every change of the counters.")]
    metadata: dict[str, str]
    created_at: Time
    updated_at: Time
    transfers: Annotated[
        "list[TransferView] | UnsetType",
        Meta(description="With `expand=transfers`: the most recent transfers, newest first."),
    ] = UNSET
    holds: Annotated[
        "list[HoldView] | UnsetType",
        Meta(description="With `expand=holds`: the open holds, newest first, 100 at most; the list of holds has more."),
    ] = UNSET


class AtMost(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A balancing amount: what is available, up to `at_most` and at least 1."""

    at_most: Amount


class TransferRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A transfer to post: `amount` debits one account and credits the other."""

    debit_account_id: UUID
    credit_account_id: UUID
    amount: Amount | AtMost
    currency: Currency
    reference: Reference | None = None
    description: Description | None = None
    effective_at: ValueDate | None = None
    metadata: Metadata = {}


class ReversalRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """How much of a transfer to move back: without `amount`, all that has not been moved back yet."""

    amount: Amount | None = None
    reference: Reference | None = None
    description: Description | None = None
    effective_at: ValueDate | None = None
    metadata: Metadata = {}


class HoldRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """A hold to open. It expires at `expires_at`, or `expires_in_seconds` after it is opened; without either, after
    the time that the installation sets (7 days by default). An installation bounds it, too (31 days by default).
    """

    debit_account_id: UUID
    credit_account_id: UUID
    amount: Amount
    currency: Currency
    expires_at: WrittenTime | None = None
    expires_in_seconds: ExpirySeconds | None = None
    reference: Reference | None = None
    description: Description | None = None
    metadata: Metadata = {}


class CaptureRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """How much of a hold to capture: without `amount`, all that is left. A `final` capture frees the rest."""

    amount: Amount | None = None
    final: bool = True
    reference: Reference | None = None
    description: Description | None = None
    effective_at: ValueDate | None = None
    metadata: Metadata = {}


class TransferView(Struct, kw_only=True, frozen=True, gc=False):
    """A transfer: a fact that never changes. The balances after it are on each account's normal side."""

    id: UUID
    ledger: str
    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    currency: str
    debit_account_version: int
    credit_account_version: int
    debit_balance_after: int
    credit_balance_after: int
    hold_id: UUID | None
    reverses_id: UUID | None
    group_id: UUID | None
    reference: str | None
    description: str | None
    metadata: dict[str, str]
    effective_at: Annotated[Time, Meta(description="The value date.")]
    created_at: Annotated[
        Time,
        Meta(
            description="Where it stands in the order, which rises along every account: the time of posting, or just"
            " after its accounts' last change where that lies (some seconds at most) ahead of the clock."
        ),
    ]
    debit_account: Annotated[
        "AccountView | UnsetType", Meta(description="With `expand=accounts`: the account as it is now.")
    ] = UNSET
    credit_account: Annotated[
        "AccountView | UnsetType", Meta(description="With `expand=accounts`: the account as it is now.")
    ] = UNSET


class HoldView(Struct, kw_only=True, frozen=True, gc=False):
    """A hold and what became of it. The versions are the accounts' own when it was opened and when it met its end."""

    id: UUID
    ledger: str
    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    captured_amount: int
    currency: str
    status: HoldStatus
    expires_at: datetime
    debit_account_version: int
    credit_account_version: int
    closed_debit_account_version: int | None
    closed_credit_account_version: int | None
    group_id: UUID | None
    reference: str | None
    description: str | None
    metadata: dict[str, str]
    created_at: datetime
    closed_at: datetime | None


def ledger_view(ledger: models.Ledger) -> LedgerView:
    """Return how the API shows ``ledger``."""
    return LedgerView(name=ledger.name, description=ledger.description, created_at=ledger.created_at)


def account_view(
    ledger: str,
    account: AccountDetails,
    *,
    transfers: list[TransferView] | UnsetType = UNSET,
    holds: list[HoldView] | UnsetType = UNSET,
) -> AccountView:
    """Return how the API shows ``account`` of the ledger named ``ledger``."""
    return AccountView(
        id=account.id,
        ledger=ledger,
        reference=account.reference,
        name=account.name,
        currency=account.currency,
        normal_side=cast("NormalSide", account.normal_side),  # constraints of the table keep these to the known ones
        minimum_balance=account.minimum_balance,
        maximum_balance=account.maximum_balance,
        status=cast("AccountStatus", account.status),
        debits_posted=account.debits_posted,
        credits_posted=account.credits_posted,
        debits_held=account.debits_held,
        credits_held=account.credits_held,
        balance=account.balance,
        available_balance=account.available_balance,
        version=account.version,
        metadata=account.metadata,
        created_at=account.created_at,
        updated_at=account.updated_at,
        transfers=transfers,
        holds=holds,
    )


def transfer_view(
    ledger: str,
    transfer: Transfer,
    *,
    debit_account: AccountView | UnsetType = UNSET,
    credit_account: AccountView | UnsetType = UNSET,
) -> TransferView:
    """Return how the API shows ``transfer`` of the ledger named ``ledger``."""
    return TransferView(
        id=transfer.id,
        ledger=ledger,
        debit_account_id=transfer.debit_account_id,
        credit_account_id=transfer.credit_account_id,
        amount=transfer.amount,
        currency=transfer.currency,
        debit_account_version=transfer.debit_account_version,
        credit_account_version=transfer.credit_account_version,
        debit_balance_after=transfer.debit_balance_after,
        credit_balance_after=transfer.credit_balance_after,
        hold_id=transfer.hold_id,
        reverses_id=transfer.reverses_id,
        group_id=transfer.group_id,
        reference=transfer.reference,
        description=transfer.description,
        metadata=transfer.metadata,
        effective_at=transfer.effective_at,
        created_at=transfer.created_at,
        debit_account=debit_account,
        credit_account=credit_account,
    )


def expanded_transfer_view(ledger: str, transfer: models.Transfer) -> TransferView:
    """Return how the API shows a transfer with both of its accounts, which the query must have loaded."""
    return transfer_view(
        ledger,
        as_fact(transfer),
        debit_account=account_view(ledger, details(transfer.debit_account)),
        credit_account=account_view(ledger, details(transfer.credit_account)),
    )


def hold_view(ledger: str, hold: Hold) -> HoldView:
    """Return how the API shows ``hold`` of the ledger named ``ledger``."""
    return HoldView(ledger=ledger, **dict(zip(_HOLD_FIELDS, _hold_values(hold), strict=True)))


_HOLD_FIELDS = [name for name in Hold.__struct_fields__ if name != "ledger_id"]
_hold_values = attrgetter(*_HOLD_FIELDS)
