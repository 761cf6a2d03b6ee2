"""Tells of every request, whichever way it is answered: its id in the answer, and a line in the log afterwards.

One layer around the application does it, and the same for what the HTTP server answers by itself.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

from service.server.refusals import Answer, Refusal, Refuse, Scope
from service.telemetry.http_metrics import HttpMetrics
from service.telemetry.records import OTHER_METHOD, RECORD, RequestRecord, current
from service.telemetry.request_lines import RequestLine, RequestLines
from service.telemetry.spans import Span

logger = logging.getLogger(__name__)

App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""


class BeginsSpans(Protocol):
    """What traces requests (``telemetry.traces``)."""

    def begin(self, record: RequestRecord) -> Span | None:
        """Return the span of a request, None where it is not sampled."""


class RequestTelemetry:
    """Tells of requests: ``lines`` writes a line of each, ``traces`` follows some, ``metrics`` counts them; None for
    none. What went wrong is told in any case. ``active`` is how many are being answered.
    """

    def __init__(self, lines: RequestLines | None, traces: BeginsSpans | None = None) -> None:
        self._lines = lines
        self._traces = traces
        self.metrics: HttpMetrics | None = None
        self.active = 0

    def around(self, app: App) -> App:
        """Return the ASGI application ``app`` with this layer around it, which must be the outermost."""

        async def told(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            record = scope[RECORD] = _record_of_head(scope)
            current.set(record)
            span = None if self._traces is None else self._traces.begin(record)
            self.active += 1
            try:
                await app(scope, receive, record.stand_between(scope, send))
            except Exception:
                record.code = Refusal.FAULT.value
                raise
            finally:
                self.active -= 1
                if record.status is not None:  # else the server answers
                    self._end(record)
                if span is not None:
                    span.end_request(record, record.status or HTTPStatus.INTERNAL_SERVER_ERROR)

        return told

    def refusals(self, refuse: Refuse) -> Refuse:
        """Return what answers as ``refuse`` does, by which the HTTP server answers without the application, and tells
        of it.
        """

        def answer(refusal: Refusal, detail: str, scope: Scope | None) -> Answer:
            status, headers, body = refuse(refusal, detail, scope)
            record: RequestRecord | None = None if scope is None else scope.get(RECORD)
            if record is None:
                record = RequestRecord(OTHER_METHOD, []) if scope is None else _record_of_head(scope)
            if record.status is None:
                record.status, record.code, record.bytes = status, refusal.value, len(body)
                record.reason = record.reason or detail or None
                self._end(record)
            return status, [*headers, *record.answer_headers], body

        return answer

    def _end(self, record: RequestRecord) -> None:
        """Tell of a request once: its answer is given."""
        status = record.status
        if record.ended or status is None:
            return
        record.ended = True
        seconds = time.monotonic() - record.started
        if record.method == "HEAD":
            record.bytes = 0
        if self.metrics is not None:
            self.metrics.note(record.method, record.route, status, record.code, seconds)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.UNAUTHORIZED:
            _tell_failed(record, status)
        if self._lines is not None:
            self._lines.add(_line_of(record, status, seconds))


def _record_of_head(scope: Scope) -> RequestRecord:
    return RequestRecord(scope["method"], scope["headers"])


def _tell_failed(record: RequestRecord, status: int) -> None:
    """Log why a request failed, or why its token was not taken: a line a minute for each cause."""
    why = record.reason or record.code or str(status)
    message = "a token is refused" if status == HTTPStatus.UNAUTHORIZED else "a request failed"
    extra = {"request_id": record.id, "code": record.code, "route": record.route, "reason": why}
    logger.warning(message, extra=extra)


def _line_of(record: RequestRecord, status: int, seconds: float) -> RequestLine:
    return RequestLine(
        request_id=record.id,
        trace_id=record.trace_id,
        client=record.client,
        method=record.method,
        route=record.route,
        status=status,
        code=record.code,
        reason=record.reason if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
        duration_ms=int(seconds * 1e6) / 1e3,  # to the microsecond
        bytes=record.bytes,
    )
