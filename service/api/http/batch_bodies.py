"""Bodies of batches: up to 16 MiB, decoded a slice at a time, so that other requests get their turn in between."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from service.api.http.decoding import StrictJSON
from service.api.http.problems import BODY_REQUIRED
from service.wire import faults
from service.wire.batches import ITEMS_MAX, BatchItem, BatchItems, BatchMode, BatchRequest
from service.wire.decoding import SAID_TWICE, decode, is_shortest, said_twice, says_once, texts_min
from service.wire.errors import MalformedError
from service.wire.expectations import expectation
from service.wire.values import check_of

ITEM_BYTES_MAX = 384 * 1024
"""No item is larger, even with every character of every text escaped."""

_SLICE_BYTES = 64 * 1024
_ABSENT = Raw()

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
    outline = _in_outline(body)
    await asyncio.sleep(0)
    raw_items = _raw_items(outline.transfers)
    await asyncio.sleep(0)
    _check_said_once(body, bytes(outline.transfers))
    items: list[BatchItem] = []
    for contents in _slices(raw_items):
        items += _decoded(contents, first=len(items))
        await asyncio.sleep(0)
    return BatchRequest(transfers=items, mode="independent" if outline.mode is UNSET else outline.mode)


def _in_outline(body: bytes) -> _Outline:
    if not body:
        raise MalformedError("", BODY_REQUIRED)
    try:
        return _decode_outline(body)
    except msgspec.ValidationError as error:
        raise faults.of_content(error, BatchRequest) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise faults.of_json(body, error) from None


def _raw_items(raw: Raw) -> Iterator[Raw]:
    try:
        items = msgspec.structs.astuple(_decode_items(raw))
    except msgspec.ValidationError as error:
        raise faults.of_content(error, BatchItems, pointer="/transfers") from None
    if items[0] is _ABSENT:
        raise MalformedError("/transfers", f"this must be {expectation(BatchItems)}")
    return takewhile(lambda item: item is not _ABSENT, items)


def _check_said_once(body: bytes, transfers: bytes) -> None:
    """Check that "transfers", whose list is ``transfers``, and "mode" are there once. Raises MalformedError."""
    begin = body.index(b"[")  # the first list is the only one
    outside = body[:begin] + b"0" + body[begin + len(transfers) :]
    if len(outside) > _SLICE_BYTES:
        reason = f"more than {_SLICE_BYTES} bytes stand beside this list; send nothing but it"
        raise MalformedError("/transfers", reason)
    if body[begin : begin + len(transfers)] != transfers:
        raise MalformedError("/transfers", SAID_TWICE)
    if not says_once(outside):
        raise said_twice(outside)


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
