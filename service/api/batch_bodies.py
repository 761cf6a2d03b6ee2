"""Bodies of batches: up to 16 MiB, decoded a slice at a time, so that other requests get their turn in between."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from service.api import faults
from service.api.expectations import expectation, expecting
from service.api.problems import BODY_REQUIRED, malformed
from service.api.schemas import ExpirySeconds, GroupName, TransferRequest, WrittenTime
from service.api.values import check_of
from service.api.wire import SAID_TWICE, StrictJSON, decode, is_shortest, said_twice, says_once, texts_min
from service.domain import limits

ITEM_BYTES_MAX = 384 * 1024
"""No item is larger, even with every character of every text escaped."""

_SLICE_BYTES = 64 * 1024
_ITEMS_MAX = limits.TRANSACTION_COMMANDS_MAX
_ABSENT = Raw()

T = TypeVar("T")


class HoldTerms(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """When a hold expires, as in a request to open one."""

    expires_at: WrittenTime | None = None
    expires_in_seconds: ExpirySeconds | None = None


class BatchItem(TransferRequest, kw_only=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """One transfer of a batch, under a key of its own; with `hold`, one hold to open instead."""

    idempotency_key: Annotated[
        str,
        expecting(
            f'a key of 1 to {limits.IDEMPOTENCY_KEY_LENGTH_MAX} visible ASCII characters, such as "order-17"',
            min_length=1,
            max_length=limits.IDEMPOTENCY_KEY_LENGTH_MAX,
            pattern=r"^[\x21-\x7e]+(?!\n)$",
        ),
    ]
    group: GroupName | None = None
    hold: HoldTerms | None = None


BatchItems = Annotated[list[BatchItem], Meta(min_length=1, max_length=_ITEMS_MAX)]
BatchMode = Literal["independent", "atomic"]


class BatchRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Transfers to post in this order. `atomic`: all of them or none. `independent`: each item or group by itself."""

    transfers: BatchItems
    mode: BatchMode = "independent"


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
        [(f"item_{number}", Raw, _ABSENT) for number in range(_ITEMS_MAX)],
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
    """Return the batch in ``body``. Raises ProblemError (malformed_request) that points at the fault."""
    outline = _in_outline(body)
    await asyncio.sleep(0)
    raw_items = _raw_items(outline.transfers)
    _check_said_once(body, bytes(outline.transfers))
    items: list[BatchItem] = []
    for contents in _slices(raw_items):
        items += _decoded(contents, first=len(items))
        await asyncio.sleep(0)
    return BatchRequest(transfers=items, mode="independent" if outline.mode is UNSET else outline.mode)


def _in_outline(body: bytes) -> _Outline:
    if not body:
        raise malformed("", BODY_REQUIRED)
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
        raise malformed("/transfers", f"this must be {expectation(BatchItems)}")
    return takewhile(lambda item: item is not _ABSENT, items)


def _check_said_once(body: bytes, transfers: bytes) -> None:
    """Check that "transfers", whose list is ``transfers``, and "mode" are there once. Raises ProblemError."""
    begin = body.index(b"[")  # the first list is the only one
    outside = body[:begin] + b"0" + body[begin + len(transfers) :]
    if len(outside) > _SLICE_BYTES:
        raise malformed("/transfers", f"more than {_SLICE_BYTES} bytes stand beside this list; send nothing but it")
    if body[begin : begin + len(transfers)] != transfers:
        raise malformed("/transfers", SAID_TWICE)
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

    They are decoded together, and one by one only where something is wrong, to point at it. Raises ProblemError.
    """
    together = b"[" + b",".join(contents) + b"]"
    try:
        items = _slice_decoder.decode(together)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        items = []
    if len(items) == len(contents) and max(map(len, contents)) <= ITEM_BYTES_MAX:
        if is_shortest(together, len(items) * texts_min(BatchItem)):
            return items
        if says_once(together) and not any(map(_fault, items)):
            return items
    return [_item(content, f"/transfers/{number}") for number, content in enumerate(contents, first)]


def _item(content: bytes, pointer: str) -> BatchItem:
    if len(content) > ITEM_BYTES_MAX:
        raise malformed(pointer, f"an item has at most {ITEM_BYTES_MAX} bytes")
    return decode(_item_decoder, content, pointer=pointer)
