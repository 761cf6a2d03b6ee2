"""Traces of sampled requests, recorded and sent by OpenTelemetry, under the names of its conventions.

No span has what a caller wrote: no body, header, path or value of a statement. Only where traces are wanted is this
module imported, for it needs the extra ``telemetry``.
"""

import asyncio
import random
import re
import threading
from collections.abc import Mapping
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as RecordedSpan

from service.telemetry import spans
from service.telemetry.records import RequestRecord
from service.telemetry.trace_context import is_sampled, span_id_of, trace_id_of, traceparent_of

SPANS_WAITING_MAX = 2_048
"""How many spans wait to be sent at most; what is more is dropped."""
SEND_SECONDS_MAX = 5.0
CLOSE_SECONDS_MAX = 2.0
STATEMENT_LENGTH_MAX = 1_000

_SERVER_ERROR = 500
_FIRST_WORD = re.compile(r"[A-Za-z]+|$")


class Span:
    """A span of OpenTelemetry, as ``spans.Span`` has it."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Tracer, span: RecordedSpan) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def context(self) -> SpanContext:
        """The identifiers of the span and its trace."""
        return self._span.get_span_context()

    def add(self, name: str, began_ns: int, ended_ns: int, *, link: spans.Span | None = None) -> None:
        """Tell of what was done as part of this: a span below it, linked with ``link``."""
        below = self._tracer.start_span(name, set_span_in_context(self._span), start_time=began_ns)
        if isinstance(link, Span):
            below.add_link(link.context)
        below.end(ended_ns)

    def add_statement(self, statement: str, began_ns: int, ended_ns: int, *, error: str | None = None) -> None:
        """Tell of a statement to PostgreSQL, cut to STATEMENT_LENGTH_MAX characters."""
        operation = _FIRST_WORD.findall(statement[:STATEMENT_LENGTH_MAX])[0].upper()
        below = self._tracer.start_span(
            operation,
            set_span_in_context(self._span),
            kind=SpanKind.CLIENT,
            attributes={
                "db.system.name": "postgresql",
                "db.operation.name": operation,
                "db.query.text": statement[:STATEMENT_LENGTH_MAX],
            },
            start_time=began_ns,
        )
        _mark_failed(below, error)
        below.end(ended_ns)

    def begin_batch(self, began_ns: int) -> "Span":
        """Return the span of a batch: the first of a trace of its own."""
        return Span(self._tracer, self._tracer.start_span("batch", Context(), start_time=began_ns))

    def link(self, other: spans.Span) -> None:
        """Link this span with ``other``."""
        if isinstance(other, Span):
            self._span.add_link(other.context)

    def end_request(self, record: RequestRecord, status: int) -> None:
        """End the span of a request that was answered with ``status``."""
        self._span.update_name(f"{record.method} {record.route}")
        told: Mapping[str, str | int | None] = {
            "http.request.method": record.method,
            "http.route": record.route,
            "http.response.status_code": status,
            "http.response.body.size": record.bytes,
            "funds.request_id": record.id,
            "funds.client": record.client,
            "funds.problem": record.code,
        }
        self._span.set_attributes({name: value for name, value in told.items() if value is not None})
        if status >= _SERVER_ERROR:
            _mark_failed(self._span, record.code or str(status))
        self._span.end()

    def end_batch(self, command_count: int, error: Exception | None) -> None:
        """End the span of a batch."""
        self._span.set_attribute("funds.batch.commands", command_count)
        _mark_failed(self._span, None if error is None else type(error).__name__)
        self._span.end()


class Traces:
    """Traces of a process, sent to the collector at ``url`` (OTLP over HTTP) by a thread of its own.

    A request is sampled when its caller says so (``traceparent``), never when that says no, and otherwise with the
    chance ``share``.
    """

    def __init__(self, url: str, share: float) -> None:
        release = version("funds-transfer-service")
        resource = Resource.create({"service.name": "funds", "service.version": release})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(url, timeout=SEND_SECONDS_MAX)
        self._sending = BatchSpanProcessor(exporter, max_queue_size=SPANS_WAITING_MAX)
        provider.add_span_processor(self._sending)
        self._tracer = provider.get_tracer("funds", release)
        self._share = share

    def begin(self, record: RequestRecord) -> Span | None:
        """Return the span of a request, None where it is not sampled. What is done for it is told below the span."""
        span = self._begin(record)
        spans.current.set(span)
        return span

    async def close(self) -> None:
        """Send what waits, for CLOSE_SECONDS_MAX at most; what is then still there is dropped."""
        # A thread that the end of the process does not wait for: a collector may hang.
        ending = threading.Thread(target=self._sending.shutdown, name="traces-end", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, CLOSE_SECONDS_MAX)

    def _begin(self, record: RequestRecord) -> Span | None:
        traceparent = record.traceparent
        chosen = random.random() < self._share if traceparent is None else is_sampled(traceparent)  # noqa: S311
        if not chosen:
            return None
        context = Context()
        if traceparent is not None:
            caller = SpanContext(
                int(trace_id_of(traceparent), 16),
                int(span_id_of(traceparent), 16),
                is_remote=True,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
            )
            context = set_span_in_context(NonRecordingSpan(caller), context)
        span = Span(self._tracer, self._tracer.start_span(record.method, context, kind=SpanKind.SERVER))
        if traceparent is None:
            record.traceparent = traceparent_of(span.context.trace_id, span.context.span_id)
        return span


def _mark_failed(span: RecordedSpan, error: str | None) -> None:
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
