"""A collector of traces: takes what is sent by OTLP over HTTP, in a thread of its own."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

WAIT_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.02


@dataclass
class Collected:
    """One span as it arrived; the times are nanoseconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    began_ns: int
    ended_ns: int
    failed: bool
    links: list[str]
    """The identifiers of the spans that it is linked with."""
    attributes: dict[str, str | int]

    @classmethod
    def of(cls, span: Span) -> "Collected":
        return cls(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            kind=span.kind,
            began_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
            failed=span.status.code == span.status.STATUS_CODE_ERROR,
            links=[link.span_id.hex() for link in span.links],
            attributes={
                one.key: one.value.string_value or one.value.int_value or one.value.bool_value
                for one in span.attributes
            },
        )


@dataclass
class Collector:
    """What has arrived at ``url``."""

    url: str
    spans: list[Collected] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def wait_for(self, enough: Callable[[list[Collected]], Any]) -> list[Collected]:
        """Return the spans that have arrived, once they are ``enough``."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not enough(self.spans):
            assert time.monotonic() < deadline, f"not enough arrived: {[span.name for span in self.spans]}"
            time.sleep(_POLL_SECONDS)
        return list(self.spans)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            collector.bodies.append(body)
            for one in request.resource_spans:
                collector.resources.append({a.key: a.value.string_value for a in one.resource.attributes})
                collector.spans += [Collected.of(span) for scope in one.scope_spans for span in scope.spans]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
