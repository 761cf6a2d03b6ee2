"""The log's line of each request. What is answered in one turn of the event loop is written at once: a line that the
standard library's logging makes costs a quarter of a transfer.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

import msgspec
from msgspec import Struct, structs

from service.telemetry.logs import line_handler, utc_time

logger = logging.getLogger("service.requests")

MESSAGE = "request"
_PROBES = "/health/"
_LEVELS = {logging.INFO: "info", logging.DEBUG: "debug"}
_encode_into = msgspec.json.Encoder().encode_into


class RequestLine(Struct, omit_defaults=True, gc=False):
    """One request: what it is called and who sent it, how it was answered, how many milliseconds that took, and the
    bytes of the answer's body. ``code`` is that of the problem that was answered, ``reason`` what
    is told of a fault of the service.

    Nothing that a caller wrote is in it but the id, which is well formed: no body, header, path or query string.
    """

    request_id: str
    method: str
    route: str
    status: int
    duration_ms: float
    bytes: int
    trace_id: str | None = None
    client: str | None = None
    code: str | None = None
    reason: str | None = None


class RequestLines:
    """Writes lines of requests, at level info; those of probes at level debug."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, RequestLine]] = []

    def add(self, line: RequestLine) -> None:
        """Have ``line`` written before the event loop waits again, with the time of then."""
        level = logging.DEBUG if line.route.startswith(_PROBES) else logging.INFO
        if not logger.isEnabledFor(level):
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._waiting.append((level, line))

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        handler = line_handler()
        if handler is not None:
            handler.write(_written(waiting))
            return
        for level, line in waiting:  # on a terminal, or with logging that others have set up
            told = {name: value for name, value in structs.asdict(line).items() if value is not None}
            logger.log(level, MESSAGE, extra=told)


def _written(waiting: Sequence[tuple[int, RequestLine]]) -> str:
    """Return the lines as JSON, as other lines of the log are, that is with time, level, logger and message."""
    now, same = utc_time(time.time()), f'"logger":"{logger.name}","message":"{MESSAGE}"'
    starts = {level: f'{{"time":"{now}","level":"{name}",{same}'.encode() for level, name in _LEVELS.items()}
    text = bytearray()
    for level, line in waiting:
        text += starts[level]
        joint = len(text)
        _encode_into(line, text, joint)
        text[joint] = ord(",")  # where the line's own members begin
        text += b"\n"
    return text.decode()
