"""Fingerprints: telling apart the requests that come under one idempotency key."""

from hashlib import blake2b
from typing import Any

import msgspec

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def fingerprint(operation: str, *parts: Any) -> bytes:
    """Return a digest of 16 bytes that is equal for equal requests: defaults filled in, order of members ignored."""
    return blake2b(_encode((operation, parts)), digest_size=16).digest()
