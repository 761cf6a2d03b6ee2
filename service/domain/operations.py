"""Operations: what requests with an idempotency key ask for, by name."""

from typing import Literal

Operation = Literal[
    "post_transfer",
    "open_hold",
    "capture_hold",
    "void_hold",
    "reverse_transfer",
    "fence_key",
    "create_account",
    "revise_account",
    "create_ledger",
    "close_period",
]
"""The names stand in stored decisions and in fingerprints: they never change.

A Literal and not an enumeration: every command is fingerprinted under its operation, and a text encodes fastest.
"""
