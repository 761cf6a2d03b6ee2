"""Idempotency keys: what became of one, and making one unusable."""

from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import UNSET

from service.access.principal import Principal
from service.api.context import LedgerRef, Services
from service.api.http.idempotency import key_in_path
from service.api.http.problems import after_a_commit, rejected, responses, stored_problem, write_responses
from service.api.resources.views import account_view, closing_view, hold_view, transfer_view
from service.domain.accounts import AccountDetails
from service.domain.commands import FenceKey
from service.domain.history import Caller
from service.domain.holds import Hold
from service.domain.periods import Closing
from service.domain.rejections import ClockBehind, Rejection
from service.domain.rules import RULES
from service.domain.transfers import Transfer
from service.storage.repositories import Repositories
from service.wire.keys import KeyView
from service.wire.problems import StoredProblem
from service.wire.reasons import IdempotencyKeyInvalid

PathKey = Annotated[str, PathParameter(description="A key of the calling client, percent-encoded.")]


class IdempotencyKeyController(Controller):
    """Idempotency keys of the calling client, in a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/idempotency-keys/{idempotency_key:str}"
    tags = ("Idempotency keys",)

    @get(opt={"scope": "read"}, operation_id="getIdempotencyKey", responses=responses(IdempotencyKeyInvalid))
    async def get_key(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        idempotency_key: PathKey,
    ) -> Response[KeyView]:
        """Tell what became of a key. It is read where it is written, never from a replica."""
        key = key_in_path(idempotency_key)
        return Response(await _key_view(services, ledger, request.user, key))

    @post(
        "/fence",
        opt={"scope": "transfers:write"},
        operation_id="fenceIdempotencyKey",
        status_code=200,
        responses=write_responses(IdempotencyKeyInvalid, *RULES["fence_key"]),
    )
    async def fence_key(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        idempotency_key: PathKey,
    ) -> Response[KeyView]:
        """Make a key that was never used unusable for ever, and tell what became of it: `fenced`, or what the request
        that came first was answered. Either way the outcome is certain from now on. May be sent again at will.
        """
        key = key_in_path(idempotency_key)
        fence = FenceKey(
            ledger_id=caller.ledger_id, client_id=caller.client_id, request_id=caller.request_id, idempotency_key=key
        )
        [[answer]] = await services.committer.submit(ledger.id, [[fence]])
        if isinstance(answer.result, ClockBehind):
            raise rejected(answer.result, ledger)
        with after_a_commit():
            return Response(await _key_view(services, ledger, request.user, key))


async def _key_view(services: Services, ledger: LedgerRef, principal: Principal, key: str) -> KeyView:
    decision = await services.primary_reader(
        lambda session: Repositories(session).decisions.by_key(ledger.id, principal.client, key)
    )
    if decision is None:
        return KeyView(idempotency_key=key, outcome="never_seen")
    result = decision.result
    return KeyView(
        idempotency_key=key,
        outcome=decision.outcome,
        operation=decision.operation,
        decided_at=decision.created_at,
        transfer=transfer_view(ledger.name, result) if isinstance(result, Transfer) else UNSET,
        hold=hold_view(ledger.name, result) if isinstance(result, Hold) else UNSET,
        account=account_view(ledger.name, result) if isinstance(result, AccountDetails) else UNSET,
        closing=closing_view(ledger.name, result) if isinstance(result, Closing) else UNSET,
        problem=_problem(ledger, key, result) if isinstance(result, Rejection) else UNSET,
    )


def _problem(ledger: LedgerRef, key: str, rejection: Rejection) -> StoredProblem:
    return stored_problem(rejection, ledger, key)
