"""Idempotency keys: reading the header."""

import re
from typing import Annotated

from litestar.params import HeaderParameter

from service.api.http.paths import ESCAPED_SLASH
from service.domain.limits import IDEMPOTENCY_KEY_LENGTH_MAX
from service.errors import ProblemError
from service.wire.reasons import IdempotencyKeyInvalid, IdempotencyKeyRequired

_BARE = re.compile(r"[\x21\x23-\x7e][\x21-\x7e]{0,254}")
_QUOTED = re.compile(r'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"')
_CONTENT = re.compile(r"[\x21-\x7e]{1,255}")
_ESCAPED = re.compile(r'\\(["\\])')

KEY_HEADER = "Idempotency-Key"
KEY_PATTERN = f"^(?:{_BARE.pattern}|{_QUOTED.pattern})$"
KEY_HEADER_LENGTH_MAX = 2 * IDEMPOTENCY_KEY_LENGTH_MAX + 2
"""Of a quoted string in which every character is escaped."""


IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name=KEY_HEADER,
        description="Names this request for ever, for the calling client: 1–255 visible ASCII characters, bare or"
        " as a quoted string (RFC 9651). The same key with the same request gives the same answer.",
    ),
]

OptionalIdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name=KEY_HEADER,
        description="Names this request for ever, for the calling client, as the key of a POST does; it may be absent.",
    ),
]


def parse_key(header: str | None) -> str:
    """Return the key that the header gives; a quoted string and its bare content are the same key.

    Raises ProblemError when it is missing or not one string of visible ASCII.
    """
    if header is None:
        raise ProblemError(IdempotencyKeyRequired())
    value = header.strip()
    if _BARE.fullmatch(value):
        return value
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        raise ProblemError(IdempotencyKeyInvalid())
    key = _ESCAPED.sub(r"\1", quoted[1])
    if len(key) > IDEMPOTENCY_KEY_LENGTH_MAX:
        raise ProblemError(IdempotencyKeyInvalid())
    return key


def key_in_path(segment: str) -> str:
    """Return the key that a segment of the path names. Raises ProblemError (idempotency_key_invalid)."""
    key = segment.replace(ESCAPED_SLASH, "/")
    if not _CONTENT.fullmatch(key):
        raise ProblemError(IdempotencyKeyInvalid())
    return key
