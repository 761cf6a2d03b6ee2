"""Amounts, names and other single values: their bounds, and the words for what each of them takes."""

from typing import Annotated

from msgspec import Meta

from ..domain import codes, limits
from ..domain.texts import client_fault, name_fault, prefix_fault, prose_fault, words_fault
from .expectations import expecting
from .values import RULE

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
AccountCode = Annotated[
    str,
    expecting(
        f'a code of 1 to {codes.SEGMENTS_MAX} segments divided by ":", {codes.LENGTH_MAX} characters at most, each of'
        ' letters of ASCII, digits, ".", "_" and "-", beginning with a letter or digit, such as "1000:cash:eur"',
        min_length=1,
        max_length=codes.LENGTH_MAX,
        pattern=codes.PATTERN,
        description="The account's place in the chart of accounts: segments divided by `:`, from the general to the"
        " particular. Many accounts may have one code. It applies to all times: balances roll up along the codes of"
        " today, and the account's history says when they were revised.",
        examples=["1000:cash:eur"],
    ),
]
ReferencePrefix = Annotated[
    str,
    expecting(
        f'the beginning of a reference, 1 to {limits.REFERENCE_LENGTH_MAX} visible characters, such as "invoice-"',
        min_length=1,
        max_length=limits.REFERENCE_LENGTH_MAX,
        extra_json_schema={"pattern": rf"^(?! )[^{_UNSEEN}]+(?!\n)$"},
        extra={RULE: prefix_fault},
    ),
]
ClientName = Annotated[
    str,
    expecting(
        f'the name of a client, 1 to {limits.CLIENT_NAME_LENGTH_MAX} visible characters, such as "payroll"',
        min_length=1,
        max_length=limits.CLIENT_NAME_LENGTH_MAX,
        extra_json_schema=_NAME_SCHEMA,
        extra={RULE: client_fault},
    ),
]
DescriptionWords = Annotated[
    str,
    expecting(
        f'one or more words, {limits.DESCRIPTION_LENGTH_MAX} characters at most, such as "rent may"',
        min_length=1,
        max_length=limits.DESCRIPTION_LENGTH_MAX,
        extra={RULE: words_fault},
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
MetadataMember = Annotated[
    str,
    expecting(
        'a name of at least 1 character, a colon and a value, such as "channel:web"',
        max_length=limits.METADATA_KEY_LENGTH_MAX + 1 + limits.METADATA_VALUE_LENGTH_MAX,
        pattern="^.+:",
    ),
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
IdempotencyKey = Annotated[
    str,
    expecting(
        f'a key of 1 to {limits.IDEMPOTENCY_KEY_LENGTH_MAX} visible ASCII characters, such as "order-17"',
        min_length=1,
        max_length=limits.IDEMPOTENCY_KEY_LENGTH_MAX,
        pattern=r"^[\x21-\x7e]+(?!\n)$",
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
Version = Annotated[int, Meta(ge=0, le=limits.INT64_MAX)]
ExpirySeconds = Annotated[
    int,
    expecting(
        f"a whole number of seconds from 1 to {limits.HOLD_SECONDS_MAX}, such as 3600",
        ge=1,
        le=limits.HOLD_SECONDS_MAX,
    ),
]
