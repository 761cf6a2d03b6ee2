"""Holds: open, capture, void, read, list."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from service.api.commands import COMMAND_PROBLEMS, DryRun, carry_out, command_key, dry_run_response, in_utc
from service.api.context import LedgerRef, Services, as_of_header
from service.api.idempotency import IdempotencyKey
from service.api.pagination import LIMIT_DEFAULT, Cursor, Limit, Page, decode_cursor, page_response
from service.api.problems import ProblemError, malformed, responses
from service.api.schemas import CaptureRequest, HoldRequest, HoldStatus, HoldView, TransferView, hold_view
from service.api.security import Principal
from service.api.wire import StrictJSON
from service.domain.commands import CaptureHold, OpenHold, VoidHold
from service.storage.holds import HoldRepository
from service.storage.retry import Reader

_SETTLE_PROBLEMS = ("hold_not_found", "hold_expired", "hold_not_open")


class HoldController(Controller):
    """Holds of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/holds"
    tags = ("Holds",)

    @post(
        dto=StrictJSON[HoldRequest],
        opt={"scope": "transfers:write", "direct": True},
        operation_id="openHold",
        responses=dry_run_response(HoldView)
        | responses(
            "same_account",
            "account_not_found",
            "account_closed",
            "account_frozen",
            "currency_mismatch",
            "time_out_of_range",
            "balance_overflow",
            "insufficient_funds",
            *COMMAND_PROBLEMS,
        ),
    )
    async def open_hold(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        data: JSONBody[HoldRequest],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[HoldView]:
        """Reserve money for a later transfer: the amount leaves the available balance at once."""
        key = command_key(idempotency_key, dry_run=dry_run)
        command = hold_command(data, ledger, request.user, key)
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @post(
        "/{hold_id:uuid}/captures",
        dto=StrictJSON[CaptureRequest],
        opt={"scope": "transfers:write", "direct": True},
        operation_id="captureHold",
        responses=dry_run_response(TransferView)
        | responses(
            *_SETTLE_PROBLEMS,
            "capture_exceeds_hold",
            "account_closed",
            "account_frozen",
            "time_out_of_range",
            "balance_limit_exceeded",
            *COMMAND_PROBLEMS,
        ),
    )
    async def capture_hold(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        hold_id: FromPath[UUID],
        data: JSONBody[CaptureRequest],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[TransferView]:
        """Post what a hold reserves, whole or in parts. Each capture is a transfer that names its hold."""
        command = CaptureHold.of(
            ledger.id,
            request.user.client,
            command_key(idempotency_key, dry_run=dry_run),
            hold_id=hold_id,
            amount=data.amount,
            final=data.final,
            reference=data.reference,
            description=data.description,
            metadata=data.metadata,
            effective_at=in_utc(data.effective_at),
        )
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @post(
        "/{hold_id:uuid}/void",
        opt={"scope": "transfers:write", "direct": True},
        operation_id="voidHold",
        status_code=200,
        responses=responses(*_SETTLE_PROBLEMS, *COMMAND_PROBLEMS),
    )
    async def void_hold(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        hold_id: FromPath[UUID],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[HoldView]:
        """Free what a hold still reserves."""
        key = command_key(idempotency_key, dry_run=dry_run)
        command = VoidHold.of(ledger.id, request.user.client, key, hold_id=hold_id)
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @get(opt={"scope": "read"}, operation_id="listHolds", responses=responses("cursor_invalid"))
    async def list_holds(
        self,
        request: Request[Principal, Any, Any],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        account_id: Annotated[
            UUID | None, QueryParameter(description="Only holds of this account, on any side.")
        ] = None,
        status: FromQuery[HoldStatus | None] = None,
    ) -> Response[Page[HoldView]]:
        """List holds, newest first; filters combine."""
        before = decode_cursor(request, cursor, UUID)
        return await page_response(
            request,
            reader,
            lambda session: HoldRepository(session).page(
                ledger.id, limit=limit + 1, before=before, account_id=account_id, status=status
            ),
            limit=limit,
            view=lambda hold: hold_view(ledger.name, hold),
            position=lambda hold: hold.id,
        )

    @get(
        "/{hold_id:uuid}",
        opt={"scope": "read", "direct": True},
        operation_id="getHold",
        responses=responses("hold_not_found"),
    )
    async def get_hold(
        self, services: NamedDependency[Services], ledger: NamedDependency[LedgerRef], hold_id: FromPath[UUID]
    ) -> Response[HoldView]:
        """Read one hold. One past its time shows as expired within a second; it cannot be captured from then on, and
        what it reserves stands in nobody's way.
        """
        hold, as_of = await services.holds.get(ledger.id, hold_id)
        if hold is None:
            raise ProblemError("hold_not_found", members={"hold_id": str(hold_id)})
        return Response(hold_view(ledger.name, hold), headers=as_of_header(as_of))


def hold_command(
    data: HoldRequest, ledger: LedgerRef, principal: Principal, key: str, *, pointer: str = ""
) -> OpenHold:
    """Return the command that ``data`` asks for; ``pointer`` is where it says in the body when the hold expires.

    Raises ProblemError when it says so twice.
    """
    if data.expires_at is not None and data.expires_in_seconds is not None:
        raise malformed(f"{pointer}/expires_in_seconds", "expires_at says already when the hold expires")
    return OpenHold.of(
        ledger.id,
        principal.client,
        key,
        debit_account_id=data.debit_account_id,
        credit_account_id=data.credit_account_id,
        amount=data.amount,
        currency=data.currency,
        expires_at=in_utc(data.expires_at),
        expires_in_seconds=data.expires_in_seconds,
        reference=data.reference,
        description=data.description,
        metadata=data.metadata,
    )
