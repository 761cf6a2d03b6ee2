"""The answers that the HTTP server gives by itself, before or instead of the application."""

from collections.abc import Callable, MutableMapping
from enum import StrEnum
from typing import Any


class Refusal(StrEnum):
    """Why the server answers without the application; each value is the code of a problem."""

    MALFORMED = "malformed_request"
    NOT_FOUND = "not_found"
    TARGET_TOO_LONG = "uri_too_long"
    HEAD_TOO_LARGE = "request_header_too_large"
    TOO_SLOW = "request_timeout"
    OVERLOADED = "overloaded"
    FAULT = "internal_error"


Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers (lower-case names) and body."""

Scope = MutableMapping[str, Any]
"""A request's head, as ASGI applications are given it."""

Refuse = Callable[[Refusal, str, Scope | None], Answer]
"""Returns the answer to a refusal, given a sentence of detail ("" for none) and the request; None where its head was
not understood.
"""
