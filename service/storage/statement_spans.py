"""Spans of statements, below the span of what they are sent for (``telemetry.spans``), where that is traced."""

import time
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from service.storage.errors import sqlstate_of
from service.telemetry import spans

_BEGAN = "funds_began_ns"


def trace_engine(engine: AsyncEngine) -> None:
    """Tell of the statements that SQLAlchemy sends on connections of ``engine``."""
    event.listen(engine.sync_engine, "before_cursor_execute", _begin)
    event.listen(engine.sync_engine, "after_cursor_execute", _end)
    event.listen(engine.sync_engine, "handle_error", _fail)


def trace_driver(connection: asyncpg.Connection) -> None:
    """Tell of the statements that are sent on ``connection`` without SQLAlchemy: those of batches, BEGIN, COMMIT."""
    connection.add_query_logger(_tell)


def _begin(connection: Any, *_: object) -> None:
    if spans.current.get() is not None:
        connection.info[_BEGAN] = time.time_ns()


def _end(connection: Any, _cursor: object, statement: str, *_: object) -> None:
    _add(connection, statement, None)


def _fail(context: ExceptionContext) -> None:
    if context.connection is not None and context.statement is not None:
        error = context.original_exception
        _add(context.connection, context.statement, sqlstate_of(error) or type(error).__name__)


def _add(connection: Any, statement: str, error: str | None) -> None:
    span, began_ns = spans.current.get(), connection.info.pop(_BEGAN, None)
    if span is not None and began_ns is not None:
        span.add_statement(statement, began_ns, time.time_ns(), error=error)


def _tell(query: Any) -> None:
    span = spans.current.get()
    if span is not None:
        ended_ns, error = time.time_ns(), query.exception
        told = None if error is None else getattr(error, "sqlstate", None) or type(error).__name__
        span.add_statement(query.query, ended_ns - int(query.elapsed * 1e9), ended_ns, error=told)
