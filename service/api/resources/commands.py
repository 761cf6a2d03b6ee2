"""From a request to the committer and back: what every route that moves money has in common."""

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from service.api.context import LedgerRef, Services
from service.api.http.idempotency import parse_key
from service.api.http.problems import rejected, replay_header
from service.api.resources.views import result_view
from service.domain.commands import AnyCommand
from service.domain.holds import Hold
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from service.wire.times import read_time

DryRun = Annotated[
    bool,
    QueryParameter(
        name="dry_run",
        description="Decide, but store nothing and leave the key unused (it need not be sent). The answer shows what"
        " would be; the identifier in it names nothing.",
    ),
]

_NO_KEY = ""
"""Stands for the key of a dry run without one: no caller can send it, so no decision stands under it."""


def dry_run_response(view: type[Any]) -> dict[int, ResponseSpec]:
    """Describe for OpenAPI what a dry run answers."""
    return {200: ResponseSpec(view, generate_examples=False, description="A dry run: nothing was stored.")}


def command_key(header: str | None, *, dry_run: bool) -> str:
    """Return the key of a command. Raises ProblemError when it is missing or malformed."""
    return _NO_KEY if dry_run and header is None else parse_key(header)


async def carry_out(services: Services, ledger: LedgerRef, command: AnyCommand, *, dry_run: bool) -> Response[Any]:
    """Have ``command`` applied, or only decided on, and return the answer to it.

    Raises ProblemError for a rejection.
    """
    committer = services.committer
    [[answer]] = await (committer.dry_run if dry_run else committer.submit)(ledger.id, [[command]])
    result = answer.result
    if isinstance(result, Rejection):
        raise rejected(result, ledger, replayed=answer.replayed)
    headers = replay_header(replayed=answer.replayed)
    if isinstance(result, Transfer):
        headers["Location"] = f"{ledger.path}/transfers/{result.id}"
    elif isinstance(result, Hold):
        headers["Location"] = f"{ledger.path}/holds/{result.id}"
    if dry_run and not answer.replayed:
        return Response(result_view(ledger.name, result), status_code=200)
    return Response(result_view(ledger.name, result), headers=headers)


def in_utc(time: str | None) -> datetime | None:
    """Return ``time`` of a body in UTC; that it is one there was checked when it was decoded."""
    return None if time is None else read_time(time).astimezone(UTC)
