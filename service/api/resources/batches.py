"""Batches of transfers: one request, an answer for every item."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import chain
from typing import Any, TypeVar, cast

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import UNSET

from service.access.principal import Principal
from service.api.context import LedgerRef, Services, find_ledger
from service.api.http.batch_bodies import UndecodedJSON, read_batch
from service.api.http.problems import (
    after_a_commit,
    located,
    malformed_in_places,
    problem_of,
    rejected,
    write_responses,
)
from service.api.resources.commands import DryRun, dry_run_response
from service.api.resources.holds import hold_command
from service.api.resources.transfers import transfer_command
from service.api.resources.views import result_view
from service.domain.commands import OpenHold, PostTransfer
from service.domain.decisions import CommandAnswer
from service.domain.fingerprints import group_fingerprint, member_fingerprint
from service.domain.history import Caller
from service.domain.rejections import ClockBehind, Rejection
from service.errors import ProblemError
from service.posting.parts import in_parts
from service.storage.slots import Slots
from service.wire.batches import BatchItem, BatchRequest, BatchResult, BatchView
from service.wire.catalogue import CATALOGUE
from service.wire.errors import MalformedError
from service.wire.holds import HoldRequest
from service.wire.reasons import BatchRejected
from service.wire.transfers import AtMost
from service.wire.views import HoldView, TransferView

REQUEST_BYTES_MAX = 16 * 1024 * 1024

BATCH_SLOTS = 2
_WAITING_MAX = 128
_WAIT_SECONDS_MAX = 10.0
_SLICE = 16
_encode = msgspec.json.Encoder().encode
_DRY_RUN, _POSTED, _MIXED = 200, 201, 207

T = TypeVar("T")


def batch_slots() -> Slots:
    """Return the slots of batch requests: BATCH_SLOTS are worked on at a time and the others wait, so that memory is
    bounded however many come. A request waits for a slot once all of it has arrived, so a slow sender keeps no other
    waiting. One client's requests may take every slot while no other client waits.
    """
    return Slots(BATCH_SLOTS, share=BATCH_SLOTS, waiting_max=_WAITING_MAX, wait_seconds_max=_WAIT_SECONDS_MAX)


class LedgerBeforeBody(ASGIMiddleware):
    """Asks for the ledger before the body is read: a large one is taken only from those who may post it."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Let the request pass. Raises ProblemError (ledger_not_found)."""
        services: Services = scope["litestar_app"].state.services
        await find_ledger(services, scope["user"], scope["path_params"]["ledger_name"])
        await next_app(scope, receive, send)


@post(
    "/v1/ledgers/{ledger_name:str}/transfers/batch",
    dto=UndecodedJSON[BatchRequest],
    opt={"scope": "transfers:write"},
    operation_id="postTransferBatch",
    tags=["Transfers"],
    middleware=[LedgerBeforeBody()],
    request_max_body_size=REQUEST_BYTES_MAX,
    responses=write_responses(BatchRejected, ClockBehind)
    | dry_run_response(BatchView)
    | {
        _MIXED: ResponseSpec(
            BatchView, generate_examples=False, description="Some items were rejected: each result says why."
        )
    },
)
async def post_batch(
    request: Request[Principal, Any, Any],
    services: NamedDependency[Services],
    ledger: NamedDependency[LedgerRef],
    caller: NamedDependency[Caller],
    data: JSONBody[BatchRequest],
    dry_run: DryRun = False,  # noqa: FBT002
) -> Response[BatchView]:
    """Post 1 to 10,000 transfers and holds, each under its own key. 201: all are posted. 207: some were rejected,
    `results` says which and why. 422 (`batch_rejected`): nothing of an atomic batch was applied; `results` is in the
    problem.

    Independent items are applied in parts, so that other transfers get their turn; after an error answer, send the
    batch again: what was applied replays.
    """
    async with services.batch_slots.taken(request.user.client):
        # The OpenAPI document needs the type; the event loop must not be held up while the body is decoded.
        return await _post(cast("bytes", data), services, ledger, caller, dry_run=dry_run)


async def _post(
    body: bytes, services: Services, ledger: LedgerRef, caller: Caller, *, dry_run: bool
) -> Response[BatchView]:
    """Decode, decide and answer a batch. Raises ProblemError or MalformedError."""
    batch = await read_batch(body)
    _refuse_repeated_keys(batch.transfers)
    # Every item becomes a command before any is applied: one malformed item refuses the whole request.
    groups = await _groups(batch, caller)
    # A dry run is one part: the next one would not see what this one only decided.
    run, commands_max = services.committer.submit, services.settings.batch_commands_max
    if dry_run:
        run, commands_max = services.committer.dry_run, len(batch.transfers)
    results: dict[int, msgspec.Raw] = {}
    rejections: list[Rejection] = []
    for part in in_parts(groups, commands_max):
        with after_a_commit(sent=bool(results)):
            answers = await run(ledger.id, [[command for _, command in group] for group in part])
        answered = zip(chain.from_iterable(part), chain.from_iterable(answers), strict=True)
        async for (index, command), answer in _with_pauses(answered):
            result = _result(ledger, command.idempotency_key, answer)
            results[index] = msgspec.Raw(_encode(result))  # here, a slice at a time: an answer may have 20 MB
            if isinstance(answer.result, Rejection):
                rejections.append(answer.result)
    view = BatchView(
        posted=len(results) - len(rejections),
        rejected=len(rejections),
        results=[cast("BatchResult", results[index]) for index in range(len(batch.transfers))],
    )
    if rejections and batch.mode == "atomic":
        for_now = next((rejection for rejection in rejections if CATALOGUE[rejection.code].retryable), None)
        if for_now is not None:
            raise rejected(for_now, ledger)
        raise ProblemError(BatchRejected(posted=view.posted, rejected=view.rejected, results=view.results))
    return Response(view, status_code=_MIXED if rejections else _DRY_RUN if dry_run else _POSTED)


def _refuse_repeated_keys(items: Sequence[BatchItem]) -> None:
    """Check that every key names one item: of two, the second would only tell what became of the first.

    Raises ProblemError (malformed_request) that names both places.
    """
    if len({item.idempotency_key for item in items}) == len(items):
        return
    first_places: dict[str, int] = {}
    for index, item in enumerate(items):
        first = first_places.setdefault(item.idempotency_key, index)
        if first != index:
            raise malformed_in_places(
                [f"/transfers/{first}/idempotency_key", f"/transfers/{index}/idempotency_key"],
                "both items have the same key; give each a key of its own, or send the item once",
            )


async def _with_pauses(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield ``items`` with a pause after every _SLICE of them: while a batch request is worked on, the committer has
    to send PostgreSQL its next statements.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % _SLICE == 0:
            await asyncio.sleep(0)


IndexedGroup = list[tuple[int, PostTransfer | OpenHold]]
"""Commands that apply together or not at all, each with its place in the request."""


async def _groups(batch: BatchRequest, caller: Caller) -> list[IndexedGroup]:
    """Sort the items into groups, in order. Raises MalformedError for groups in an atomic batch, which is one group,
    and for an item that is no command.
    """
    groups: dict[int | str, IndexedGroup] = {}
    async for index, item in _with_pauses(enumerate(batch.transfers)):
        if batch.mode == "atomic":
            if item.group is not None:
                raise MalformedError(f"/transfers/{index}/group", "an atomic batch is one group; leave the group out")
            name: int | str = 0
        else:
            name = index if item.group is None else item.group
        groups.setdefault(name, []).append((index, _command(index, item, caller)))
    return [group if len(group) == 1 else await _as_group(group) async for group in _with_pauses(groups.values())]


async def _as_group(group: IndexedGroup) -> IndexedGroup:
    """Return the commands of a group of several. The fingerprint of each covers the whole group: a key that was decided
    in a group stands for that group, so a group replays whole or not at all.
    """
    whole = group_fingerprint((command.idempotency_key, command.fingerprint) for _, command in group)
    return [
        (index, msgspec.structs.replace(command, fingerprint=member_fingerprint(whole, command.fingerprint)))
        async for index, command in _with_pauses(group)
    ]


def _command(index: int, item: BatchItem, caller: Caller) -> PostTransfer | OpenHold:
    pointer = f"/transfers/{index}"
    if item.hold is None:
        return transfer_command(item, caller, item.idempotency_key)
    if isinstance(item.amount, AtMost):
        raise MalformedError(f"{pointer}/amount", "a hold reserves a definite amount")
    if item.effective_at is not None:
        raise MalformedError(f"{pointer}/effective_at", "a hold has no value date; its captures have")
    request = HoldRequest(
        debit_account_id=item.debit_account_id,
        credit_account_id=item.credit_account_id,
        amount=item.amount,
        currency=item.currency,
        expires_at=item.hold.expires_at,
        expires_in_seconds=item.hold.expires_in_seconds,
        reference=item.reference,
        description=item.description,
        metadata=item.metadata,
    )
    return hold_command(request, caller, item.idempotency_key, pointer=f"{pointer}/hold")


def _result(ledger: LedgerRef, key: str, answer: CommandAnswer) -> BatchResult:
    result = answer.result
    if isinstance(result, Rejection):
        problem = problem_of(
            located(result, ledger),
            result.detail,
            path_prefix=ledger.path_prefix,
            instance=f"{ledger.path}/transfers/batch",
        )
        return BatchResult(idempotency_key=key, status=problem.status, replayed=answer.replayed, problem=problem)
    view = result_view(ledger.name, result)
    return BatchResult(
        idempotency_key=key,
        status=_POSTED,
        replayed=answer.replayed,
        transfer=view if isinstance(view, TransferView) else UNSET,
        hold=view if isinstance(view, HoldView) else UNSET,
    )
