"""Decisions: what was refused, and why."""

from typing import Annotated, Any, cast
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from service.access.principal import Principal
from service.api.context import OF_CLIENTS_HEADER, LedgerRef
from service.api.http.headers import add_to_answer
from service.api.http.pagination import LIMIT_DEFAULT, Cursor, Limit, Order, decode_cursor, page_response
from service.api.http.problems import responses, stored_problem
from service.domain.decisions import Decision
from service.domain.rejections import Rejection
from service.storage.repositories import Repositories
from service.storage.repositories.decisions import Position, position_of
from service.storage.transactions import Reader
from service.wire.decisions import DecisionOutcome, DecisionView
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid
from service.wire.times import Time


@get(
    "/v1/ledgers/{ledger_name:str}/decisions",
    opt={"scope": "read", "withholds": True},
    operation_id="listDecisions",
    tags=["Decisions"],
    responses=responses(CursorInvalid),
)
async def list_decisions(
    request: Request[Principal, Any, Any],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    order: Order = "desc",
    outcome: Annotated[
        DecisionOutcome,
        QueryParameter(description="What was applied is in the lists of transfers, holds and accounts."),
    ] = "rejected",
    account_id: Annotated[
        UUID | None, QueryParameter(description="Only refusals to this account, on any side.")
    ] = None,
    created_from: Annotated[Time | None, QueryParameter(description="The earliest time of the decision.")] = None,
    created_to: Annotated[Time | None, QueryParameter(description="The decision was taken before this.")] = None,
) -> Response[Page[DecisionView]]:
    """List what was refused, by time; filters combine. A token with the scope `audit` sees every client's, another
    one those of its own client alone.
    """
    after = decode_cursor(request, order, cursor, Position)
    client = request.user.not_applied_of
    if client is not None:
        add_to_answer(request.scope, {OF_CLIENTS_HEADER: "own"})
    return await page_response(
        request,
        reader,
        lambda session: Repositories(session).decisions.not_applied(
            ledger.id,
            outcome=outcome,
            limit=limit + 1,
            order=order,
            after=after,
            client_id=client,
            account_id=account_id,
            created_from=created_from,
            created_to=created_to,
        ),
        order=order,
        limit=limit,
        view=lambda row: _decision_view(ledger, row),
        position=position_of,
    )


def _decision_view(ledger: LedgerRef, decision: Decision) -> DecisionView:
    problem = None
    if isinstance(decision.result, Rejection):
        key = decision.idempotency_key
        problem = stored_problem(decision.result, ledger, key)
    return DecisionView(
        client=decision.client_id,
        idempotency_key=decision.idempotency_key,
        operation=decision.operation,
        outcome=cast("DecisionOutcome", decision.outcome),  # the query keeps it to these
        debit_account_id=decision.debit_account_id,
        credit_account_id=decision.credit_account_id,
        terms=decision.terms,
        problem=problem,
        decided_at=decision.created_at,
    )
