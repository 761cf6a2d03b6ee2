"""Logs: the standard library's logging, one JSON object a line, or a readable line on a terminal.

The code that logs chooses each field of a line (``extra``): never a body, a header or a token. Exceptions are written
by ``tracebacks``, which leaves out everything that a caller sent.
"""

import json
import logging
import sys
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import TextIO

from service.telemetry.records import RequestIdFilter
from service.telemetry.repeats import RepeatFilter
from service.telemetry.tracebacks import format_exception, print_exception

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_CHATTY_LOGGERS = ("alembic", "httpcore", "httpx")  # at level info: told by commands in a sentence; every request
_COLORS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31;1"}


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send every log line of at least ``level`` to ``stream`` (standard error); call it again to change either.

    A terminal gets lines for people; anything else gets JSON. An exception that ends the process is written in the same
    form as those in the log.
    """
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(TerminalFormatter())
    else:
        handler = LineHandler(stream)
        handler.setFormatter(JsonFormatter())
    handler.addFilter(RequestIdFilter())
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    for previous in root.handlers[:]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(capture=True)
    sys.excepthook = print_exception


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes log records as JSON, and lines that are JSON already."""

    def write(self, lines: str) -> None:
        """Write ``lines``, each with its line break. A stream that takes none stops nobody, as with log records."""
        with self.lock or nullcontext(), suppress(OSError, ValueError):
            self.stream.write(lines)
            self.flush()


def line_handler() -> LineHandler | None:
    """Return what writes the log as JSON; None where it is written otherwise."""
    handlers = logging.getLogger().handlers
    return handlers[0] if len(handlers) == 1 and isinstance(handlers[0], LineHandler) else None


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the record's extra fields, and the exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; values that JSON does not know appear as their text."""
        fields = {
            **extra_fields(record),
            "time": utc_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if error := _exception(record):
            fields["exception"] = format_exception(error)
        return json.dumps(fields, default=str, ensure_ascii=False)


class TerminalFormatter(logging.Formatter):
    """A line for people: time, level, message and the extra fields; the exception below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in color for warnings and worse."""
        extra = "".join(f" {name}={value}" for name, value in extra_fields(record).items())
        line = f"{utc_time(record.created)} {record.levelname.lower():<7} {record.name}: {record.getMessage()}{extra}"
        if error := _exception(record):
            line = f"{line}\n{format_exception(error)}"
        color = _COLORS.get(record.levelno)
        return f"\033[{color}m{line}\033[0m" if color else line


def extra_fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields that the logging code added to ``record`` with ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}


def _exception(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def utc_time(seconds: float) -> str:
    """Return a time, given in seconds since 1970, as RFC 3339 in UTC with milliseconds."""
    return f"{_utc_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=4)
def _utc_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
