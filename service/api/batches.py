"""Batches of transfers: one request, an answer for every item."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
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
from msgspec import UNSET, Struct, UnsetType

from service.api.batch_bodies import BatchItem, BatchRequest, UndecodedJSON, read_batch
from service.api.catalogue import CATALOGUE
from service.api.commands import DryRun, dry_run_response, outcome_view
from service.api.context import LedgerRef, Services, find_ledger
from service.api.holds import hold_command
from service.api.problems import (
    ProblemDetails,
    ProblemError,
    malformed,
    malformed_in_places,
    problem_content,
    rejection_members,
    responses,
)
from service.api.schemas import AtMost, HoldRequest, HoldView, TransferView
from service.api.security import Principal
from service.api.transfers import transfer_command
from service.domain.book import Answer
from service.domain.commands import OpenHold, PostTransfer
from service.domain.fingerprints import fingerprint
from service.domain.rejections import Rejection
from service.storage.places import Places

REQUEST_BYTES_MAX = 16 * 1024 * 1024

TURNS = 2
_WAITING_MAX = 128
_WAIT_SECONDS_MAX = 10.0
_SLICE = 16
_encode = msgspec.json.Encoder().encode
_REHEARSED, _POSTED, _MIXED = 200, 201, 207

T = TypeVar("T")


class BatchResult(Struct, kw_only=True, frozen=True, gc=False):
    """What became of one item: its transfer or hold, or the problem that a request of its own would have met."""

    idempotency_key: str
    status: int
    replayed: bool
    transfer: TransferView | UnsetType = UNSET
    hold: HoldView | UnsetType = UNSET
    problem: ProblemDetails | UnsetType = UNSET


class BatchView(Struct, kw_only=True, frozen=True):
    """The results of a batch, in the order of its items."""

    posted: int
    rejected: int
    results: list[BatchResult]


def batch_turns() -> Places:
    """Return the turns of batches: TURNS are worked on at a time and the others wait, so that memory is bounded however
    many come. A batch waits when it has arrived whole: who sends slowly keeps nobody waiting. One client's batches may
    have every turn while no other client's wait.
    """
    return Places(TURNS, share=TURNS, waiting_max=_WAITING_MAX, wait_seconds_max=_WAIT_SECONDS_MAX)


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
    responses=responses("batch_rejected", "clock_behind")
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
    data: JSONBody[BatchRequest],
    dry_run: DryRun = False,  # noqa: FBT002
) -> Response[BatchView]:
    """Post 1 to 10,000 transfers and holds, each under its own key. 201: all are posted. 207: some were rejected,
    `results` says which and why. 422 (`batch_rejected`): nothing of an atomic batch was applied; `results` is in the
    problem.

    Independent items are applied in parts, so that other transfers get their turn; after an error answer, send the
    batch again: what was applied replays.
    """
    async with services.batch_turns.taken(request.user.client):
        # The document needs the type, the loop needs its turns.
        return await _post(cast("bytes", data), services, ledger, request.user, dry_run=dry_run)


async def _post(
    body: bytes, services: Services, ledger: LedgerRef, principal: Principal, *, dry_run: bool
) -> Response[BatchView]:
    """Decode, decide and answer a batch. Raises ProblemError."""
    batch = await read_batch(body)
    _refuse_repeated_keys(batch.transfers)
    # Every item becomes a command before any is applied: one that is malformed refuses the whole request.
    units = await _units(batch, ledger, principal)
    # A dry run is one part: the next one would not see what this one only decided.
    run, commands_max = services.engine.submit, services.settings.batch_commands_max
    if dry_run:
        run, commands_max = services.engine.rehearse, len(batch.transfers)
    results: dict[int, msgspec.Raw] = {}
    problems: list[dict[str, Any]] = []
    for part in _parts(units, commands_max):
        answers = await run(ledger.id, [[command for _, command in unit] for unit in part])
        answered = zip(chain.from_iterable(part), chain.from_iterable(answers), strict=True)
        async for (index, command), answer in _politely(answered):
            result = _result(ledger, command.idempotency_key, answer)
            results[index] = msgspec.Raw(_encode(result))  # here, a slice at a time: an answer may have 20 MB
            if result.problem is not UNSET:
                problems.append(cast("dict[str, Any]", result.problem))
    rejected = len(problems)
    view = BatchView(
        posted=len(results) - rejected,
        rejected=rejected,
        results=[cast("BatchResult", results[index]) for index in range(len(batch.transfers))],
    )
    if rejected and batch.mode == "atomic":
        for_now = next((problem for problem in problems if CATALOGUE[problem["code"]].retryable), None)
        if for_now is not None:
            raise ProblemError(for_now["code"], for_now["detail"], members=for_now)
        raise ProblemError("batch_rejected", members=msgspec.structs.asdict(view))
    return Response(view, status_code=_MIXED if rejected else _REHEARSED if dry_run else _POSTED)


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


async def _politely(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield ``items``, and let others go first after every _SLICE of them: while a batch is worked on here, the engine
    wants to tell PostgreSQL what to do next.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % _SLICE == 0:
            await asyncio.sleep(0)


IndexedUnit = list[tuple[int, PostTransfer | OpenHold]]
"""Commands that apply together or not at all, each with its place in the request."""


async def _units(batch: BatchRequest, ledger: LedgerRef, principal: Principal) -> list[IndexedUnit]:
    """Sort the items into units, in order. Raises ProblemError for groups where all items are one unit anyway, and for
    an item that is no command.
    """
    units: dict[int | str, IndexedUnit] = {}
    async for index, item in _politely(enumerate(batch.transfers)):
        if batch.mode == "atomic":
            if item.group is not None:
                raise malformed(f"/transfers/{index}/group", "an atomic batch is one group; leave the group out")
            name: int | str = 0
        else:
            name = index if item.group is None else item.group
        units.setdefault(name, []).append((index, _command(index, item, ledger, principal)))
    return [unit if len(unit) == 1 else await _in_company(unit) async for unit in _politely(units.values())]


async def _in_company(unit: IndexedUnit) -> IndexedUnit:
    """Return the commands of a unit of several. Each one's fingerprint covers the whole unit: a key that was decided
    together with others stands for that company, so a unit replays whole or not at all.
    """
    company = fingerprint("unit", [(command.idempotency_key, command.fingerprint) for _, command in unit])
    return [
        (index, msgspec.structs.replace(command, fingerprint=fingerprint("member", company, command.fingerprint)))
        async for index, command in _politely(unit)
    ]


def _command(index: int, item: BatchItem, ledger: LedgerRef, principal: Principal) -> PostTransfer | OpenHold:
    pointer = f"/transfers/{index}"
    if item.hold is None:
        return transfer_command(item, ledger, principal, item.idempotency_key)
    if isinstance(item.amount, AtMost):
        raise malformed(f"{pointer}/amount", "a hold reserves a definite amount")
    if item.effective_at is not None:
        raise malformed(f"{pointer}/effective_at", "a hold has no value date; its captures have")
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
    return hold_command(request, ledger, principal, item.idempotency_key, pointer=f"{pointer}/hold")


def _parts(units: Sequence[IndexedUnit], commands_max: int) -> Iterator[list[IndexedUnit]]:
    """Pack units, in order, into parts of at most ``commands_max`` commands; a larger unit is a part by itself."""
    part: list[IndexedUnit] = []
    size = 0
    for unit in units:
        if part and size + len(unit) > commands_max:
            yield part
            part, size = [], 0
        part.append(unit)
        size += len(unit)
    yield part


def _result(ledger: LedgerRef, key: str, answer: Answer) -> BatchResult:
    outcome = answer.outcome
    if isinstance(outcome, Rejection):
        problem = problem_content(
            outcome.code,
            outcome.detail,
            path_prefix=ledger.path_prefix,
            instance=f"{ledger.path}/transfers/batch",
            members=rejection_members(outcome, path_prefix=ledger.path_prefix, ledger=ledger.name),
        )
        return BatchResult(
            idempotency_key=key,
            status=problem["status"],
            replayed=answer.replayed,
            problem=cast("ProblemDetails", problem),
        )
    view = outcome_view(ledger.name, outcome)
    return BatchResult(
        idempotency_key=key,
        status=_POSTED,
        replayed=answer.replayed,
        transfer=view if isinstance(view, TransferView) else UNSET,
        hold=view if isinstance(view, HoldView) else UNSET,
    )
