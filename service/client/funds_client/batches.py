"""Batches of any length: the requests they are sent in, and what became of each item."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from .answers import is_decided, is_for_now, problem_error
from .errors import BatchRejectedError, ProblemError
from .exchange import Answer
from .wire.batches import BatchItem, BatchResult
from .wire.views import HoldView, TransferView


class ItemResult(Struct, frozen=True, kw_only=True):
    """What became of one item: its ``transfer`` or ``hold``, or the ``error`` that it would have met alone."""

    idempotency_key: str
    replayed: bool
    transfer: TransferView | None = None
    hold: HoldView | None = None
    error: ProblemError[Any] | None = None


class _Result(BatchResult, frozen=True, kw_only=True):
    """A result whose problem may have a code that this version does not know."""

    problem: Raw | UnsetType = UNSET  # type: ignore[assignment]


class _View(Struct, frozen=True):
    results: list[_Result]


_view = msgspec.json.Decoder(_View)
_results = msgspec.json.Decoder(list[_Result])


def groups_of(items: Sequence[BatchItem], *, atomic: bool) -> list[list[int]]:
    """Return the places of what applies together or not at all, in the order of the first item of each group."""
    if atomic:
        return [list(range(len(items)))]
    groups: dict[int | str, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(place if item.group is None else item.group, []).append(place)
    return list(groups.values())


def chunks(groups: Iterable[list[int]], items_max: int) -> Iterator[list[int]]:
    """Yield the places of the items that each request has: ``items_max`` or fewer, but for a group, which is never
    divided.
    """
    chunk: list[int] = []
    for group in groups:
        if chunk and len(chunk) + len(group) > items_max:
            yield sorted(chunk)
            chunk = []
        chunk += group
    if chunk:
        yield sorted(chunk)


def read_results(answer: Answer) -> list[ItemResult]:
    """Return the results of an answer. Raises msgspec.MsgspecError."""
    return [_item(result) for result in _view.decode(answer.body).results]


def results_of(error: BatchRejectedError) -> list[ItemResult]:
    """Return what became of each item of an atomic batch that was rejected."""
    told = error.reason.results
    return [] if told is UNSET else [_item(result) for result in _results.decode(msgspec.json.encode(told))]


def _item(result: _Result) -> ItemResult:
    error = None
    if result.problem is not UNSET:
        error = problem_error(bytes(result.problem))
        if error is None:
            raise msgspec.ValidationError("The problem of an item is none.")
    return ItemResult(
        idempotency_key=result.idempotency_key,
        replayed=result.replayed,
        transfer=None if result.transfer is UNSET else result.transfer,
        hold=None if result.hold is UNSET else result.hold,
        error=error,
    )


def all_decided(results: Iterable[ItemResult]) -> bool:
    """Whether what became of each item stands for ever."""
    return all(result.error is None or is_decided(result.error) for result in results)


def any_for_now(results: Iterable[ItemResult]) -> bool:
    """Whether an item was rejected for a cause that passes."""
    return any(result.error is not None and is_for_now(result.error) for result in results)
