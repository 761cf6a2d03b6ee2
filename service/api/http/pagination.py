"""Lists in pages: a bounded limit, either order, an opaque cursor, a Link to the next page (RFC 8288)."""

import base64
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response
from litestar.params import QueryParameter
from msgspec import Raw

from service.api.http.paths import asked_path
from service.domain.fingerprints import fingerprint
from service.errors import ProblemError
from service.storage.database import Session
from service.storage.lists import ListOrder, ScanEnd, Slices
from service.storage.transactions import Reader
from service.wire.errors import MalformedError
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid
from service.wire.values import checked

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
    str | None,
    QueryParameter(
        max_length=2000, description="`next_cursor` of the page before, with the same filters and in the same order."
    ),
]
Order = Annotated[
    ListOrder,
    QueryParameter(
        description="`desc`: newest first. `asc`: oldest first; here the last page has a `next_cursor`, which finds"
        " what comes later."
    ),
]

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P")

_encode = msgspec.json.Encoder().encode


def encode_cursor(request: Request[Any, Any, Any], order: ListOrder, position: Any) -> str:
    """Return an opaque cursor that continues the requested list, which is in ``order``, after ``position``."""
    content = msgspec.json.encode((_name_of_list(request, order), position))
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def decode_cursor(request: Request[Any, Any, Any], order: ListOrder, cursor: str | None, kind: type[P]) -> P | None:
    """Return the position in ``cursor``. Raises ProblemError (cursor_invalid) for one that is not ours, or continues
    another list or the same one with other filters or in the other order.

    A cursor is neither secret nor signed, so a forged one is held to what the database can hold.
    """
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        content = base64.b64decode(padded, altchars=b"-_", validate=True)
        name, position = msgspec.json.decode(content, type=tuple[str, kind])  # type: ignore[valid-type]
        checked(kind, position)
    except (ValueError, RecursionError, MalformedError):
        raise ProblemError(CursorInvalid()) from None
    if name != _name_of_list(request, order):
        raise ProblemError(CursorInvalid())
    return cast("P", position)


def _name_of_list(request: Request[Any, Any, Any], order: ListOrder) -> str:
    """Return what tells the requested list from others: its path, its filters and its order, given or not."""
    filters = [pair for pair in request.query_params.multi_items() if pair[0] not in {"limit", "cursor", "order"}]
    if order == "asc":
        filters.append(("order", order))
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
    rows: Callable[[Session], Slices[R | ScanEnd] | Slices[R]],
    *,
    order: ListOrder,
    limit: int,
    view: Callable[[R], T],
    position: Callable[[R], Any],
    appended: bool = True,
) -> Response[Page[T]]:
    """Answer one page of ``rows``, which are read in slices, one more than ``limit``, until the page is full: if
    something came that is not on it, or a scan ended before its list, there is a next page.

    ``position`` tells what the next page continues after. Where what is new is ``appended`` to the list in rising
    order, there is a next page even at its end, after the last item or, without items, where this page began.
    """
    followed = appended and order == "asc"

    async def read(session: Session) -> tuple[list[Raw], Any]:
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
        return page.items, position(latest) if followed and latest is not None else None

    items, last = await reader(read)
    headers: dict[str, str] = {}
    cursor = None
    if last is not None:
        cursor = encode_cursor(request, order, last)
    elif followed:
        cursor = request.query_params.get("cursor")
    if cursor is not None:
        headers = next_link(request, cursor)
    return Response(Page(cast("list[T]", items), cursor), headers=headers)


def next_link(request: Request[Any, Any, Any], cursor: str) -> dict[str, str]:
    """Return the header that links to the next page of the requested list, which ``cursor`` continues."""
    # In the order in which they were asked, which ``multi_items`` does not keep.
    query = [(name, value) for name, value in request.query_params.items() if name != "cursor"]
    return {"Link": f'<{asked_path(request.scope)}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'}
