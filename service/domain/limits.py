"""Bounds that every layer keeps: they are what the database's types and the wire can hold."""

INT64_MAX = 2**63 - 1
"""Amounts, balances and counters are 64-bit signed integers, in minor units."""

IDEMPOTENCY_KEY_LENGTH_MAX = 255
CLIENT_NAME_LENGTH_MAX = 128
NAME_LENGTH_MAX = 255
REFERENCE_LENGTH_MAX = 255
DESCRIPTION_LENGTH_MAX = 1_000
METADATA_ENTRIES_MAX = 50
METADATA_KEY_LENGTH_MAX = 64
METADATA_VALUE_LENGTH_MAX = 500

TRANSACTION_COMMANDS_MAX = 10_000
"""The most commands that one database transaction decides: an atomic batch of the largest size."""

HOLD_SECONDS_MAX = 3_660 * 86_400
"""The longest that any installation lets a hold live: ten years."""
