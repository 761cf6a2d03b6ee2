"""Answers that are files: their media types, which of them a request asks for, and how long they may take."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from litestar import Request
from litestar.response import Stream
from litestar.types import Scope
from msgspec import Struct

from service.api.http.streams import prefixed
from service.errors import FileUnfinishedError
from service.server.exchange import CUT_ANSWER
from service.telemetry import metrics
from service.telemetry.records import record_of

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=str)
T = TypeVar("T")


class FileKind(Struct, frozen=True):
    """A kind of file: its media type, and how its names end."""

    media_type: str
    suffix: str


CSV = FileKind("text/csv", "csv")
XLSX = FileKind("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx")


def accepted(request: Request[Any, Any, Any], kinds: Mapping[F, FileKind], otherwise: F) -> F:
    """Return the first form of ``kinds`` that ``Accept`` names, ``otherwise`` for JSON or where it names none."""
    forms = {kind.media_type: form for form, kind in kinds.items()} | {"application/json": otherwise}
    for one in request.headers.get("accept", "").split(","):
        form = forms.get(one.partition(";")[0].strip().lower())
        if form is not None:
            return form
    return otherwise


class FileTime:
    """The time that one file may take, from when it is asked for until its last part is taken: whoever reads slowly, or
    asks for too much, holds one of a few slots meanwhile.
    """

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._end = asyncio.get_running_loop().time() + seconds_max

    async def within(self, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Yield ``items``, of which the file is made or which it consists of. Raises FileUnfinishedError for one that
        comes after the time is over.
        """
        async with aclosing(items):
            async for item in items:
                if asyncio.get_running_loop().time() > self._end:
                    raise FileUnfinishedError(self._seconds_max)
                yield item


async def file_answer(
    request: Request[Any, Any, Any], name: str, kind: FileKind, parts: AsyncGenerator[bytes, None]
) -> Stream:
    """Answer with the file ``name`` of ``parts`` as they are made; what the first one raises is raised here, before the
    answer begins. When its time is over later, it is cut.
    """
    beginning = await anext(parts)
    return Stream(
        _until_cut(request.scope, prefixed(beginning, parts)),
        media_type=kind.media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}.{kind.suffix}"'},
    )


async def _until_cut(scope: Scope, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield ``parts``. When their time is over, close the connection without the answer's end."""
    try:
        async with aclosing(parts):
            async for part in parts:
                yield part
    except FileUnfinishedError as error:
        metrics.files_cut.add()
        logger.warning("a file is cut", extra={"route": record_of(scope).route, "reason": str(error)})
        cut: Any = (scope.get("extensions") or {}).get(CUT_ANSWER)
        if cut is None:
            raise
        cut()
