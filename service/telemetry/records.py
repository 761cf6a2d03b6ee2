"""What is known of a request while it is answered: its id, and what is told of it afterwards."""

import logging
import random
import re
import time
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any

from service.server.exchange import WHOLE_ANSWER
from service.server.refusals import Scope
from service.telemetry.trace_context import TRACEPARENT_HEADER, read_traceparent, trace_id_of

REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID_PATTERN = "[A-Za-z0-9._-]{1,128}"
UNMATCHED = "unmatched"
"""Stands for the route of a request that reached none. A path is never told: it is what the caller wrote."""

RECORD = "funds_request"
"""The member of an ASGI scope that holds the record."""

_WELL_FORMED = re.compile(REQUEST_ID_PATTERN.encode())
_ID_HEADER, _TRACE_HEADER = REQUEST_ID_HEADER.lower().encode(), TRACEPARENT_HEADER.encode()
_ID_BITS = 128
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
OTHER_METHOD = "_OTHER"
"""Stands for every other method, as OpenTelemetry has it."""

Headers = Iterable[tuple[bytes, bytes]]


class RequestRecord:
    """What is known of a request while it is answered; its parts fill it in where they learn it.

    ``id`` is what the caller calls the request (``X-Request-Id``), where that is well formed, else the id of the trace
    that it belongs to (``traceparent``), else 128 random bits. ``route`` is the template of the path. ``code`` is that
    of the problem that is answered, ``reason`` why, where that is told. ``status`` is None until the answer begins;
    ``bytes`` counts what was sent of its body.
    """

    __slots__ = (
        "_answer",
        "_send",
        "bytes",
        "client",
        "code",
        "ended",
        "headers",
        "id",
        "method",
        "reason",
        "route",
        "started",
        "status",
        "traceparent",
    )

    def __init__(self, method: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = time.monotonic()
        self.method = method if method in METHODS else OTHER_METHOD
        self.headers = named = dict(headers)
        self.client: str | None = None
        self.route = UNMATCHED
        self.code: str | None = None
        self.reason: str | None = None
        self.status: int | None = None
        self.bytes = 0
        self.ended = False
        self.traceparent = read_traceparent(_single(named, headers, _TRACE_HEADER)) if _TRACE_HEADER in named else None
        given = _single(named, headers, _ID_HEADER) if _ID_HEADER in named else b""
        if given and _WELL_FORMED.fullmatch(given):
            self.id = given.decode("ascii")
        elif self.traceparent is not None:
            self.id = trace_id_of(self.traceparent)
        else:
            # No secret: the system seeded the generator.
            self.id = random.getrandbits(_ID_BITS).to_bytes(_ID_BITS // 8).hex()

    @property
    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer carries: the request's id, and the trace that it belongs to, where there is one."""
        told = [(_ID_HEADER, self.id.encode())]
        if self.traceparent is not None:
            told.append((_TRACE_HEADER, self.traceparent.encode()))
        return told

    def stand_between(self, scope: Scope, send: Any) -> Any:
        """See to it that the answer passes here, in either way that the HTTP server takes it; return what sends it."""
        self._send = send
        extensions = scope.get("extensions")
        if extensions is not None and WHOLE_ANSWER in extensions:
            self._answer = extensions[WHOLE_ANSWER]
            extensions[WHOLE_ANSWER] = self._answer_whole
        return self._send_part

    def _answer_whole(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.bytes = len(body)
        self._answer(status, [*headers, *self.answer_headers], body)

    async def _send_part(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self.answer_headers]
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that the request belongs to, where it has one."""
        return None if self.traceparent is None else trace_id_of(self.traceparent)


current: ContextVar[RequestRecord | None] = ContextVar("the request that is being answered", default=None)


def record_of(scope: Any) -> RequestRecord:
    """Return what is known of the request of ``scope``, inside the layer."""
    record: RequestRecord = scope[RECORD]
    return record


class RequestIdFilter(logging.Filter):
    """Adds to each log record the id of the request that is being answered, and that of its trace.

    Work that several requests share has the ids of the one that began it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete ``record``, and let it pass."""
        request = current.get()
        if request is not None:
            record.request_id = request.id
            if request.trace_id is not None:
                record.trace_id = request.trace_id
        return True


def _single(named: dict[bytes, bytes], headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the header ``name``; nothing where it came more than once, for then it is not known which one is meant."""
    if len(named) < len(headers) and sum(other == name for other, _ in headers) > 1:
        return b""
    return named[name]
