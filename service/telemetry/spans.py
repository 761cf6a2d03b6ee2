"""What is told of in traces, whoever records them: spans of requests, of batches and their phases, and of statements.

Where traces are off, or a request is not sampled, there is no span, and nothing of this happens.
"""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from service.telemetry.records import RequestRecord


class Span(Protocol):
    """A span that is being recorded. Times are nanoseconds since 1970."""

    def add(self, name: str, began_ns: int, ended_ns: int, *, link: "Span | None" = None) -> None:
        """Tell of what was done as part of this: a span below it, linked with ``link``."""

    def add_statement(self, statement: str, began_ns: int, ended_ns: int, *, error: str | None = None) -> None:
        """Tell of a statement to the database, without its values; ``error`` is the SQLSTATE or class of a failure."""

    def begin_batch(self, began_ns: int) -> "Span":
        """Return the span of the batch that what this is for goes into: the first of a trace of its own."""

    def link(self, other: "Span") -> None:
        """Link this span with ``other``."""

    def end_request(self, record: RequestRecord, status: int) -> None:
        """End the span of a request that was answered with ``status``."""

    def end_batch(self, command_count: int, error: Exception | None) -> None:
        """End the span of a batch."""


current: ContextVar[Span | None] = ContextVar("the span of what is being done", default=None)


class Waiting(Protocol):
    """What waits for a batch: ``span`` is that of its request, ``accepted_at`` when it came (the loop's seconds)."""

    span: Span | None
    accepted_at: float


class BatchSpan:
    """The span of a batch, linked with those of the requests whose commands it commits, where any of them is sampled.

    Each of those is told how long it waited: until the batch began, or until the ledger's head was locked, up to when
    a batch takes more.
    """

    __slots__ = ("_began_at", "_began_ns", "_gathered_at", "_span")

    def __init__(self) -> None:
        self._began_ns = time.time_ns()
        self._began_at = self._gathered_at = time.monotonic()
        self._span: Span | None = None

    def gather(self, batch: Sequence[Waiting]) -> None:
        """Note what is in the batch by now."""
        self._gathered_at = time.monotonic()
        if self._span is None:
            first = next((one.span for one in batch if one.span is not None), None)
            if first is not None:
                self._span = first.begin_batch(self._began_ns)
                current.set(self._span)

    def end(self, batch: Sequence[Waiting], command_count: int, error: Exception | None = None) -> None:
        """End the span of ``batch``, which is committed, or failed with ``error``."""
        if self._span is None:
            return
        current.set(None)
        for one in batch:
            if one.span is not None:
                taken_at = self._began_at if one.accepted_at <= self._began_at else self._gathered_at
                one.span.add("queue", self._ns(one.accepted_at), self._ns(taken_at), link=self._span)
                self._span.link(one.span)
        self._span.end_batch(command_count, error)

    def _ns(self, at: float) -> int:
        return self._began_ns + int((at - self._began_at) * 1e9)
