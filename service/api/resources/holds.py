"""Holds: open, capture, void, read, list."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from service.access.principal import Principal
from service.api.context import LedgerRef, Services, as_of_header
from service.api.http.decoding import StrictJSON
from service.api.http.idempotency import IdempotencyKey
from service.api.http.pagination import LIMIT_DEFAULT, Cursor, Limit, Order, decode_cursor, page_response
from service.api.http.problems import responses, write_responses
from service.api.resources.commands import DryRun, carry_out, command_key, dry_run_response, in_utc
from service.api.resources.views import hold_view
from service.domain.commands import CaptureHold, OpenHold, VoidHold
from service.domain.history import Caller
from service.domain.rejections import HoldNotFound
from service.domain.rules import RULES
from service.errors import ProblemError
from service.storage.repositories import Repositories
from service.storage.transactions import Reader
from service.wire.errors import MalformedError
from service.wire.holds import CaptureRequest, HoldRequest, HoldStatus
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid
from service.wire.views import HoldView, TransferView


class HoldController(Controller):
    """Holds of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/holds"
    tags = ("Holds",)

    @post(
        dto=StrictJSON[HoldRequest],
        opt={"scope": "transfers:write", "direct": True},
        operation_id="openHold",
        responses=dry_run_response(HoldView) | write_responses(*RULES["open_hold"]),
    )
    async def open_hold(
        self,
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        data: JSONBody[HoldRequest],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[HoldView]:
        """Reserve money for a later transfer: the amount leaves the available balance at once."""
        key = command_key(idempotency_key, dry_run=dry_run)
        command = hold_command(data, caller, key)
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @post(
        "/{hold_id:uuid}/captures",
        dto=StrictJSON[CaptureRequest],
        opt={"scope": "transfers:write", "direct": True},
        operation_id="captureHold",
        responses=dry_run_response(TransferView) | write_responses(*RULES["capture_hold"]),
    )
    async def capture_hold(
        self,
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        hold_id: FromPath[UUID],
        data: JSONBody[CaptureRequest],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[TransferView]:
        """Post what a hold reserves, whole or in parts. Each capture is a transfer that names its hold."""
        command = CaptureHold(
            ledger_id=caller.ledger_id,
            client_id=caller.client_id,
            request_id=caller.request_id,
            debit_limit=caller.debit_limit,
            idempotency_key=command_key(idempotency_key, dry_run=dry_run),
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
        responses=write_responses(*RULES["void_hold"]),
    )
    async def void_hold(
        self,
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        hold_id: FromPath[UUID],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[HoldView]:
        """Free what a hold still reserves."""
        key = command_key(idempotency_key, dry_run=dry_run)
        command = VoidHold(
            ledger_id=caller.ledger_id,
            client_id=caller.client_id,
            request_id=caller.request_id,
            debit_limit=caller.debit_limit,
            idempotency_key=key,
            hold_id=hold_id,
        )
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @get(opt={"scope": "read"}, operation_id="listHolds", responses=responses(CursorInvalid))
    async def list_holds(
        self,
        request: Request[Principal, Any, Any],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        order: Order = "desc",
        account_id: Annotated[
            UUID | None, QueryParameter(description="Only holds of this account, on any side.")
        ] = None,
        status: FromQuery[HoldStatus | None] = None,
    ) -> Response[Page[HoldView]]:
        """List holds by when they were opened; filters combine."""
        after = decode_cursor(request, order, cursor, UUID)
        return await page_response(
            request,
            reader,
            lambda session: Repositories(session).holds.page(
                ledger.id, limit=limit + 1, order=order, after=after, account_id=account_id, status=status
            ),
            order=order,
            limit=limit,
            view=lambda hold: hold_view(ledger.name, hold),
            position=lambda hold: hold.id,
        )

    @get(
        "/{hold_id:uuid}",
        opt={"scope": "read", "direct": True},
        operation_id="getHold",
        responses=responses(HoldNotFound),
    )
    async def get_hold(
        self, services: NamedDependency[Services], ledger: NamedDependency[LedgerRef], hold_id: FromPath[UUID]
    ) -> Response[HoldView]:
        """Read one hold. One past its time shows as expired within a second; it cannot be captured from then on, and
        what it reserves stands in nobody's way.
        """
        hold, as_of = await services.holds.get(ledger.id, hold_id)
        if hold is None:
            raise ProblemError(HoldNotFound(hold_id))
        return Response(hold_view(ledger.name, hold), headers=as_of_header(as_of))


def hold_command(data: HoldRequest, caller: Caller, key: str, *, pointer: str = "") -> OpenHold:
    """Return the command that ``data`` asks for; ``pointer`` is where it says in the body when the hold expires.

    Raises MalformedError when it says so twice.
    """
    if data.expires_at is not None and data.expires_in_seconds is not None:
        raise MalformedError(f"{pointer}/expires_in_seconds", "expires_at says already when the hold expires")
    return OpenHold(
        ledger_id=caller.ledger_id,
        client_id=caller.client_id,
        request_id=caller.request_id,
        debit_limit=caller.debit_limit,
        idempotency_key=key,
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
