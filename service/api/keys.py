"""Idempotency keys: what became of one, and making one unusable."""

from typing import Annotated, Any, cast

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy.ext.asyncio import AsyncSession

from service.api.context import LedgerRef, Services
from service.api.idempotency import key_in_path
from service.api.problems import ProblemDetails, rejection_problem, responses
from service.api.schemas import (
    AccountView,
    HoldView,
    KeyOutcome,
    Time,
    TransferView,
    account_view,
    hold_view,
    transfer_view,
)
from service.api.security import Principal
from service.domain.commands import FenceKey, OpenHold, VoidHold
from service.domain.rejections import Rejection
from service.storage import decisions
from service.storage.accounts import details
from service.storage.decisions import DecisionRepository
from service.storage.holds import HoldRepository
from service.storage.models import Account, Decision
from service.storage.transfers import TransferRepository

PathKey = Annotated[str, PathParameter(description="A key of the calling client, percent-encoded.")]


class KeyView(Struct, kw_only=True, frozen=True):
    """What stands under an idempotency key of the calling client in this ledger.

    `never_seen`: nothing was decided under it so far; a request on its way may still be. After `fenced` nothing ever
    will be. What was applied is shown as it was answered.
    """

    idempotency_key: str
    outcome: KeyOutcome
    operation: Annotated[str | None, Meta(description="What the key was used for.", examples=["post_transfer"])] = None
    decided_at: Time | None = None
    transfer: TransferView | UnsetType = UNSET
    hold: HoldView | UnsetType = UNSET
    account: AccountView | UnsetType = UNSET
    problem: ProblemDetails | UnsetType = UNSET


class IdempotencyKeyController(Controller):
    """Idempotency keys of the calling client, in a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/idempotency-keys/{idempotency_key:str}"
    tags = ("Idempotency keys",)

    @get(opt={"scope": "read"}, operation_id="getIdempotencyKey", responses=responses("idempotency_key_invalid"))
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
        responses=responses("idempotency_key_invalid"),
    )
    async def fence_key(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        idempotency_key: PathKey,
    ) -> Response[KeyView]:
        """Make a key that was never used unusable for ever, and tell what became of it: `fenced`, or what the request
        that came first was answered. Either way the outcome is certain from now on. May be sent again at will.
        """
        key = key_in_path(idempotency_key)
        await services.engine.submit(ledger.id, [[FenceKey.of(ledger.id, request.user.client, key)]])
        return Response(await _key_view(services, ledger, request.user, key))


async def _key_view(services: Services, ledger: LedgerRef, principal: Principal, key: str) -> KeyView:
    async def read(session: AsyncSession) -> KeyView:
        decision = await DecisionRepository(session).by_key(ledger.id, principal.client, key)
        if decision is None:
            return KeyView(idempotency_key=key, outcome="never_seen")
        shown = await _shown(session, ledger, decision)
        return KeyView(
            idempotency_key=key,
            outcome=cast("KeyOutcome", decision.outcome),  # a constraint of the table keeps it to these
            operation=decision.operation,
            decided_at=decision.created_at,
            **shown,
        )

    return await services.primary_reader(read)


async def _shown(session: AsyncSession, ledger: LedgerRef, decision: Decision) -> dict[str, Any]:
    """Return what was answered, under the name of its kind."""
    if decision.problem is not None:
        return {
            "problem": rejection_problem(
                decision.problem,
                path_prefix=ledger.path_prefix,
                ledger=ledger.name,
                idempotency_key=decision.idempotency_key,
            )
        }
    if decision.operation in {"create_account", "revise_account"}:
        account = decisions.answer(decision, Account)
        assert not isinstance(account, Rejection), "it was applied"
        return {"account": account_view(ledger.name, details(account))}
    if decision.resource_id is None:
        return {}
    if decision.operation in {OpenHold.operation, VoidHold.operation}:
        [hold] = await HoldRepository(session).by_ids(ledger.id, [decision.resource_id])
        return {"hold": hold_view(ledger.name, hold.as_opened() if decision.operation == OpenHold.operation else hold)}
    [transfer] = await TransferRepository(session).by_ids(ledger.id, [decision.resource_id])
    return {"transfer": transfer_view(ledger.name, transfer)}
