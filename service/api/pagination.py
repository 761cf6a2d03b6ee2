"""Lists in pages: a bounded limit, an opaque cursor, a Link to the next page (RFC 8288)."""

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from litestar.params import QueryParameter
from msgspec import Struct

from service.api.paths import asked_path
from service.api.problems import ProblemError
from service.api.values import checked
from service.domain.fingerprints import fingerprint

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="The most items in one page.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=2000, description="`next_cursor` of the page before, with the same filters.")
]

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P")


class Page(Struct, Generic[T], frozen=True):
    """One page of a list; `next_cursor` is null on the last one."""

    items: list[T]
    next_cursor: str | None


def encode_cursor(request: Request[Any, Any, Any], position: Any) -> str:
    """Return an opaque cursor that continues the requested list after ``position``."""
    content = msgspec.json.encode((_name_of_list(request), position))
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def decode_cursor(request: Request[Any, Any, Any], cursor: str | None, kind: type[P]) -> P | None:
    """Return the position in ``cursor``. Raises ProblemError (cursor_invalid) for what is none of ours, or continues
    another list or the same one with other filters.

    Nothing in a cursor is secret or signed: whoever forges one must meet nothing that the database cannot hold.
    """
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        content = base64.b64decode(padded, altchars=b"-_", validate=True)
        name, position = msgspec.json.decode(content, type=tuple[str, kind])  # type: ignore[valid-type]
        checked(kind, position)
    except (ValueError, RecursionError, ProblemError):
        raise ProblemError("cursor_invalid") from None
    if name != _name_of_list(request):
        raise ProblemError("cursor_invalid")
    return cast("P", position)


def _name_of_list(request: Request[Any, Any, Any]) -> str:
    """Return what tells the requested list from others: its path and its filters."""
    filters = [pair for pair in request.query_params.multi_items() if pair[0] not in {"limit", "cursor"}]
    return fingerprint("list", request.scope["path"], sorted(filters))[:6].hex()


def page_response(
    request: Request[Any, Any, Any],
    rows: Sequence[R],
    *,
    limit: int,
    view: Callable[[R], T],
    position: Callable[[R], Any],
) -> Response[Page[T]]:
    """Answer one page of ``rows``, of which one more than ``limit`` was asked for: if it came, there is a next page.

    ``position`` tells what the next page continues after.
    """
    items = rows[:limit]
    cursor = encode_cursor(request, position(items[-1])) if len(rows) > limit else None
    headers = {}
    if cursor is not None:
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        headers["Link"] = f'<{asked_path(request.scope)}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
    return Response(Page([view(row) for row in items], cursor), headers=headers)
