"""Idempotency keys: reading the header, and telling requests apart."""

import re
from hashlib import blake2b
from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.params import Parameter

from service.api.problems import ProblemError

HEADER = "Idempotency-Key"

_BARE = re.compile(r"[\x21\x23-\x7e][\x21-\x7e]{0,254}")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"')
_KEY_LENGTH_MAX = 255

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


async def provide_idempotency_key(
    request: Request[Any, Any, Any],
    _idempotency_key_header: Annotated[
        str | None,
        Parameter(
            header=HEADER,
            description="Names this request for ever, for the calling client: 1–255 visible ASCII characters, bare or"
            " as a quoted string (RFC 9651). The same key with the same request gives the same answer.",
        ),
    ] = None,
) -> str:
    """Return the request's key. Raises ProblemError when it is missing or not one visible ASCII string."""
    values = request.headers.getall(HEADER, [])
    if not values:
        raise ProblemError("idempotency_key_required")
    return parse_key(values)


def parse_key(values: list[str]) -> str:
    """Return the key that the header's ``values`` give; a quoted string and its bare content are the same key."""
    if len(values) == 1:
        value = values[0].strip()
        if _BARE.fullmatch(value):
            return value
        quoted = _QUOTED.fullmatch(value)
        if quoted:
            key = re.sub(r'\\(["\\])', r"\1", quoted[1])
            if len(key) <= _KEY_LENGTH_MAX and " " not in key:
                return key
    raise ProblemError("idempotency_key_invalid")


def fingerprint(operation: str, *parts: Any) -> bytes:
    """Return a digest that is equal for equal requests: defaults filled in, order of members ignored."""
    return blake2b(_encode((operation, parts)), digest_size=16).digest()
