"""Bodies of batches: up to 16 MiB, decoded a slice at a time, so that other requests get their turn in between."""

import asyncio
import re
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from service.api.http.decoding import StrictJSON
from service.api.http.problems import BODY_REQUIRED
from service.wire import faults
from service.wire.batches import ITEMS_MAX, BatchItem, BatchItems, BatchMode, BatchRequest
from service.wire.decoding import decode, is_shortest, said_twice, says_once, texts_min
from service.wire.errors import MalformedError
from service.wire.expectations import expectation
from service.wire.values import check_of

ITEM_BYTES_MAX = 384 * 1024
"""No item is larger, even with every character of every text escaped."""

_SLICE_BYTES = 64 * 1024
_BESIDE_BYTES_MAX = 64 * 1024
_TOO_MUCH_BESIDE = f"more than {_BESIDE_BYTES_MAX} bytes stand beside this list; send nothing but it"
_ABSENT = Raw()
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TRAILING = re.compile(r"trailing characters \(byte ([0-9]+)\)$")

T = TypeVar("T")


class _Outline(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A batch whose items are not decoded yet."""

    transfers: Raw
    mode: BatchMode | UnsetType = UNSET


_decode_outline = msgspec.json.Decoder(_Outline).decode
# A list of undecoded items. msgspec holds a list to its length only when all of it is there, and 16 MiB have room for
# eight million items; to the number of its members it holds an object that is written as a list at once.
_decode_items = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Items",
        [(f"item_{number}", Raw, _ABSENT) for number in range(ITEMS_MAX)],
        array_like=True,
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
    )
).decode
_item_decoder = msgspec.json.Decoder(BatchItem)
_slice_decoder = msgspec.json.Decoder(list[BatchItem])
_fault = check_of(BatchItem) or (lambda _item: None)


class UndecodedJSON(StrictJSON[T]):
    """Hands a body on as it came, for a handler that decodes it in slices by itself."""

    def decode_bytes(self, value: bytes) -> Any:
        """Return the body."""
        return value


async def read_batch(body: bytes) -> BatchRequest:
    """Return the batch in ``body``. Raises MalformedError that points at the fault."""
    if not body:
        raise MalformedError("", BODY_REQUIRED)
    outline, raw_items = await _in_parts(body)
    items: list[BatchItem] = []
    for contents in _slices(raw_items):
        await asyncio.sleep(0)
        items += _decoded(contents, first=len(items))
    return BatchRequest(transfers=items, mode="independent" if outline.mode is UNSET else outline.mode)


async def _in_parts(body: bytes) -> tuple[_Outline, Iterable[Raw]]:
    """Return what stands beside the list of transfers, and its items. Raises MalformedError.

    None of the names and values that may stand beside the list has a bracket: the first opens it, the last closes it.
    The list is read once, for a body of 16 MiB may be millions of short lists.
    """
    begin, end = body.find(b"[", 0, _BESIDE_BYTES_MAX), body.rfind(b"]") + 1
    if begin < 0:
        outline = _read_outline(body, body)
        return outline, _read_list(outline.transfers)
    outline_json = _without_list(body, begin, end)
    try:
        raw_items = _read_list(memoryview(body)[begin:end])
    except MalformedError:
        _read_outline(outline_json, body)  # the list may be another member's
        raise
    except _NO_JSON:
        raise await _why_no_batch(body, begin) from None
    return _read_outline(outline_json, body), raw_items


def _read_list(content: bytes | memoryview | Raw) -> Iterable[Raw]:
    """Return the items in ``content``, undecoded. Raises MalformedError where it is no list of transfers, and msgspec's
    errors where it is no JSON.
    """
    try:
        items = msgspec.structs.astuple(_decode_items(content))
    except msgspec.ValidationError as error:
        raise faults.of_content(error, BatchItems, pointer="/transfers") from None
    if items[0] is _ABSENT:
        raise MalformedError("/transfers", f"this must be {expectation(BatchItems)}")
    return takewhile(lambda item: item is not _ABSENT, items)


def _without_list(body: bytes, begin: int, end: int) -> bytes:
    """Return ``body`` with an empty list in place of the one there, cut where it has more beside it than it may."""
    return body[:begin] + b"[]" + body[end : end + _BESIDE_BYTES_MAX]


def _read_outline(outline: bytes, body: bytes) -> _Outline:
    """Return the members in ``outline``, which is ``body`` with an empty list. Raises MalformedError.

    What is wrong with a small body is looked for in all of it: brackets may also stand in a name.
    """
    try:
        members = _decode_outline(outline[:_BESIDE_BYTES_MAX])
        once = len(outline) <= _BESIDE_BYTES_MAX and says_once(outline)
    except _NO_JSON as error:
        if len(outline) > _BESIDE_BYTES_MAX and "truncated" in str(error):
            raise MalformedError("/transfers", _TOO_MUCH_BESIDE) from None
        if isinstance(error, msgspec.ValidationError) and len(body) > _BESIDE_BYTES_MAX:
            raise faults.of_content(error, BatchRequest) from None
        raise _why_no_json(body, error) from None
    if len(outline) > _BESIDE_BYTES_MAX:
        raise MalformedError("/transfers", _TOO_MUCH_BESIDE)
    if not once:
        raise said_twice(outline)
    return members


async def _why_no_batch(body: bytes, begin: int) -> MalformedError:
    """Return what is wrong with ``body``, whose first list begins at ``begin`` and does not end at the last bracket."""
    await asyncio.sleep(0)
    try:
        _read_list(memoryview(body)[begin:])
    except MalformedError as error:
        return error
    except _NO_JSON as error:
        fault = error
    await asyncio.sleep(0)
    ended = _TRAILING.search(str(fault))
    if ended is not None:  # another bracket stands beside the list, which ended before the byte so numbered, from 1
        _read_outline(_without_list(body, begin, begin + int(ended[1]) - 1), body)
    return _why_no_json(body, fault)


def _why_no_json(body: bytes, error: Exception) -> MalformedError:
    """Return what is wrong with ``body``, a part of which is no JSON for ``error``."""
    try:
        _decode_outline(body)
    except msgspec.ValidationError as wrong:
        return faults.of_content(wrong, BatchRequest)
    except _NO_JSON as exact:
        error = exact
    return faults.of_json(body, error)


def _slices(items: Iterable[Raw]) -> Iterator[list[bytes]]:
    """Yield ``items`` in slices of up to _SLICE_BYTES, or of one item that is larger."""
    contents: list[bytes] = []
    slice_bytes = 0
    for item in items:
        content = bytes(item)
        slice_bytes += len(content)
        if contents and slice_bytes > _SLICE_BYTES:
            yield contents
            contents, slice_bytes = [], len(content)
        contents.append(content)
    yield contents


def _decoded(contents: list[bytes], *, first: int) -> list[BatchItem]:
    """Return the items in ``contents``, the first of which is number ``first`` of the batch.

    They are decoded together, and one by one only where something is wrong, to point at it. An item that is too large
    is refused before it is decoded. Raises MalformedError.
    """
    for number, content in enumerate(contents, first):
        if len(content) > ITEM_BYTES_MAX:  # it is a slice by itself
            raise MalformedError(f"/transfers/{number}", f"an item has at most {ITEM_BYTES_MAX} bytes")
    together = b"[" + b",".join(contents) + b"]"
    try:
        items = _slice_decoder.decode(together)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        items = []
    if len(items) == len(contents):
        if is_shortest(together, len(items) * texts_min(BatchItem)):
            return items
        if says_once(together) and not any(map(_fault, items)):
            return items
    return [
        decode(_item_decoder, content, pointer=f"/transfers/{number}") for number, content in enumerate(contents, first)
    ]
