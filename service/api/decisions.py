"""Decisions: what was refused, and why."""

from typing import Annotated, Any, Literal, cast
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from service.api.context import LedgerRef
from service.api.pagination import LIMIT_DEFAULT, Cursor, Limit, Page, decode_cursor, page_response
from service.api.problems import ProblemDetails, rejection_problem, responses
from service.api.schemas import Time
from service.api.security import Principal
from service.storage.decisions import DecisionRepository, Position, Refusal
from service.storage.retry import Reader


class DecisionView(Struct, kw_only=True, frozen=True):
    """A refusal as it was answered, with what had been asked for. `problem` holds the rule and its numbers: what the
    account had, held and needed.
    """

    client: Annotated[str, Meta(description="Whose request it was.")]
    idempotency_key: str
    operation: Annotated[str, Meta(examples=["post_transfer"])]
    outcome: Literal["rejected", "fenced"]
    debit_account_id: UUID | None
    credit_account_id: UUID | None
    terms: Annotated[dict[str, Any] | None, Meta(description="What had been asked for.")]
    problem: ProblemDetails | None
    decided_at: Time


@get(
    "/v1/ledgers/{ledger_name:str}/decisions",
    opt={"scope": "read"},
    operation_id="listDecisions",
    tags=["Decisions"],
    responses=responses("cursor_invalid"),
)
async def list_decisions(
    request: Request[Principal, Any, Any],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    outcome: Annotated[
        Literal["rejected", "fenced"],
        QueryParameter(description="What was applied is in the lists of transfers, holds and accounts."),
    ] = "rejected",
    account_id: Annotated[
        UUID | None, QueryParameter(description="Only refusals to this account, on any side.")
    ] = None,
    created_from: Annotated[Time | None, QueryParameter(description="The earliest time of the decision.")] = None,
    created_to: Annotated[Time | None, QueryParameter(description="The decision was taken before this.")] = None,
) -> Response[Page[DecisionView]]:
    """List what was refused, by any client, newest first; filters combine."""
    before = decode_cursor(request, cursor, Position)
    return await page_response(
        request,
        reader,
        lambda session: DecisionRepository(session).refused(
            ledger.id,
            outcome=outcome,
            limit=limit + 1,
            before=before,
            account_id=account_id,
            created_from=created_from,
            created_to=created_to,
        ),
        limit=limit,
        view=lambda row: _decision_view(ledger, row),
        position=lambda row: Position(row.created_at, row.client_id, row.idempotency_key),
    )


def _decision_view(ledger: LedgerRef, row: Refusal) -> DecisionView:
    return DecisionView(
        client=row.client_id,
        idempotency_key=row.idempotency_key,
        operation=row.operation,
        outcome=cast("Literal['rejected', 'fenced']", row.outcome),  # the query keeps it to these
        debit_account_id=row.debit_account_id,
        credit_account_id=row.credit_account_id,
        terms=row.terms,
        problem=None
        if row.problem is None
        else rejection_problem(
            row.problem, path_prefix=ledger.path_prefix, ledger=ledger.name, idempotency_key=row.idempotency_key
        ),
        decided_at=row.created_at,
    )
