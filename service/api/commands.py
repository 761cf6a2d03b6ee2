"""From a request to the engine and back: what every route that moves money has in common."""

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from service.api.context import LedgerRef, Services
from service.api.idempotency import parse_key
from service.api.problems import ProblemError, replay_header
from service.api.schemas import HoldView, TransferView, hold_view, read_time, transfer_view
from service.domain.commands import AnyCommand
from service.domain.holds import Hold
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer

DryRun = Annotated[
    bool,
    QueryParameter(
        name="dry_run",
        description="Decide, but store nothing and leave the key unused (it need not be sent). The answer shows what"
        " would be; the identifier in it names nothing.",
    ),
]

KEY_PROBLEMS = ("idempotency_key_reused", "key_fenced")

COMMAND_PROBLEMS = (*KEY_PROBLEMS, "clock_behind")

_NO_KEY = ""
"""Stands for the key of a dry run without one: no caller can send it, so no decision stands under it."""


def dry_run_response(view: type[Any]) -> dict[int, ResponseSpec]:
    """Describe for OpenAPI what a dry run answers."""
    return {200: ResponseSpec(view, generate_examples=False, description="A dry run: nothing was stored.")}


def command_key(header: str | None, *, dry_run: bool) -> str:
    """Return the key of a command. Raises ProblemError when it is missing or malformed."""
    return _NO_KEY if dry_run and header is None else parse_key(header)


async def carry_out(services: Services, ledger: LedgerRef, command: AnyCommand, *, dry_run: bool) -> Response[Any]:
    """Have the engine apply ``command``, or only decide on it, and return the answer to it.

    Raises ProblemError for a rejection.
    """
    engine = services.engine
    [[answer]] = await (engine.rehearse if dry_run else engine.submit)(ledger.id, [[command]])
    outcome = answer.outcome
    if isinstance(outcome, Rejection):
        raise ProblemError.from_rejection(
            outcome, path_prefix=ledger.path_prefix, ledger=ledger.name, replayed=answer.replayed
        )
    headers = replay_header(replayed=answer.replayed)
    if isinstance(outcome, Transfer):
        headers["Location"] = f"{ledger.path}/transfers/{outcome.id}"
    elif isinstance(outcome, Hold):
        headers["Location"] = f"{ledger.path}/holds/{outcome.id}"
    if dry_run and not answer.replayed:
        return Response(outcome_view(ledger.name, outcome), status_code=200)
    return Response(outcome_view(ledger.name, outcome), headers=headers)


def outcome_view(ledger: str, outcome: object) -> TransferView | HoldView:
    """Return how the API shows what was applied."""
    if isinstance(outcome, Transfer):
        return transfer_view(ledger, outcome)
    assert isinstance(outcome, Hold), "what is applied is a transfer or a hold"
    return hold_view(ledger, outcome)


def in_utc(time: str | None) -> datetime | None:
    """Return ``time`` of a body in UTC; that it is one there was checked when it was decoded."""
    return None if time is None else read_time(time).astimezone(UTC)
