"""Answers that are files: their media types, and which of them a request asks for."""

from collections.abc import Mapping
from typing import Any, TypeVar

from litestar import Request
from msgspec import Struct

F = TypeVar("F", bound=str)


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


def attachment(name: str, kind: FileKind) -> dict[str, str]:
    """Return the header that names the file."""
    return {"Content-Disposition": f'attachment; filename="{name}.{kind.suffix}"'}
