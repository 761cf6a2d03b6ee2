"""Lists in pages: a bounded limit, an opaque cursor, a Link to the next page (RFC 8288)."""

import base64
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Annotated, Any, Generic, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from litestar.params import QueryParameter
from msgspec import Raw, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from service.api.paths import asked_path
from service.api.problems import ProblemError
from service.api.values import checked
from service.domain.fingerprints import fingerprint
from service.storage.lists import ScanEnd, Slices
from service.storage.retry import Reader

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
PAGE_BYTES_MAX = 1 << 20
"""About how much JSON one answer has of a list's items; an item that is larger alone is answered alone."""

Limit = Annotated[
    int,
    QueryParameter(
        ge=1,
        le=LIMIT_MAX,
        description="The most items in one page. Large items make it shorter, at about 1 MiB: go by `next_cursor`.",
    ),
]
Cursor = Annotated[
    str | None, QueryParameter(max_length=2000, description="`next_cursor` of the page before, with the same filters.")
]

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P")

_encode = msgspec.json.Encoder().encode


class Page(Struct, Generic[T], frozen=True):
    """One page of a list; `next_cursor` is null on the last one, and only there: a page may have fewer items than asked
    for, even none, and go on.
    """

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


class Fitting:
    """Encodes items as long as they fit: at least one, at most ``count_max``, about PAGE_BYTES_MAX of JSON in all."""

    def __init__(self, count_max: int = LIMIT_MAX) -> None:
        self.items: list[Raw] = []
        self._count_max = count_max
        self._bytes = 0

    def add(self, item: object) -> bool:
        """Encode ``item`` and keep it; False if it does not fit any more."""
        if len(self.items) == self._count_max:
            return False
        encoded = _encode(item)
        if self.items and self._bytes + len(encoded) > PAGE_BYTES_MAX:
            return False
        self.items.append(Raw(encoded))
        self._bytes += len(encoded)
        return True


def fitting(items: Iterable[T]) -> list[T]:
    """Return the first of ``items``, as many as fit into an answer, encoded already."""
    encoded = Fitting()
    for item in items:
        if not encoded.add(item):
            break
    return cast("list[T]", encoded.items)


async def page_response(
    request: Request[Any, Any, Any],
    reader: Reader,
    rows: Callable[[AsyncSession], Slices[R | ScanEnd] | Slices[R]],
    *,
    limit: int,
    view: Callable[[R], T],
    position: Callable[[R], Any],
) -> Response[Page[T]]:
    """Answer one page of ``rows``, which are read in slices, one more than ``limit``, until the page is full: if
    something came that is not on it, or a scan ended before its list, there is a next page.

    ``position`` tells what the next page continues after.
    """

    async def read(session: AsyncSession) -> tuple[list[Raw], Any]:
        page = Fitting(limit)
        latest = None
        async with aclosing(rows(session)) as slices:
            async for found in slices:
                for row in found:
                    if isinstance(row, ScanEnd):
                        return page.items, row.position
                    if not page.add(view(row)):
                        return page.items, position(cast("R", latest))
                    latest = row
        return page.items, None

    items, last = await reader(read)
    headers = {}
    cursor = None
    if last is not None:
        cursor = encode_cursor(request, last)
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        headers["Link"] = f'<{asked_path(request.scope)}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
    return Response(Page(cast("list[T]", items), cursor), headers=headers)
