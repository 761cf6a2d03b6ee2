"""Transfers: post, reverse, read, list."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from service.api.commands import COMMAND_PROBLEMS, DryRun, carry_out, command_key, dry_run_response, in_utc
from service.api.context import LedgerRef, Services, as_of_header
from service.api.idempotency import IdempotencyKey
from service.api.pagination import LIMIT_DEFAULT, Cursor, Limit, Page, decode_cursor, page_response
from service.api.problems import ProblemError, malformed, responses
from service.api.schemas import (
    AtMost,
    Reference,
    ReversalRequest,
    Time,
    TransferRequest,
    TransferView,
    Version,
    expanded_transfer_view,
    transfer_view,
)
from service.api.security import Principal
from service.api.wire import StrictJSON
from service.domain.commands import PostTransfer, ReverseTransfer
from service.domain.transfers import Transfer
from service.storage.lists import ScanEnd, Slices
from service.storage.retry import Reader
from service.storage.transfers import Side, TransferRepository

POST_PROBLEMS = (
    "same_account",
    "account_not_found",
    "account_closed",
    "account_frozen",
    "currency_mismatch",
    "time_out_of_range",
    "balance_overflow",
    "insufficient_funds",
    "balance_limit_exceeded",
    *COMMAND_PROBLEMS,
)


class TransferController(Controller):
    """Transfers of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/transfers"
    tags = ("Transfers",)

    @post(
        dto=StrictJSON[TransferRequest],
        opt={"scope": "transfers:write", "direct": True},
        operation_id="postTransfer",
        responses=dry_run_response(TransferView) | responses(*POST_PROBLEMS),
    )
    async def post_transfer(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        data: JSONBody[TransferRequest],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[TransferView]:
        """Move money, exactly once. Rules are checked in the order in which the problems are listed here; a refusal
        is remembered under the key like a transfer.
        """
        command = transfer_command(data, ledger, request.user, command_key(idempotency_key, dry_run=dry_run))
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @post(
        "/{transfer_id:uuid}/reversals",
        dto=StrictJSON[ReversalRequest],
        opt={"scope": "transfers:write", "direct": True},
        operation_id="reverseTransfer",
        responses=dry_run_response(TransferView)
        | responses(
            "transfer_not_found",
            "reversal_not_reversible",
            "already_reversed",
            "reversal_exceeds_transfer",
            "account_closed",
            "account_frozen",
            "time_out_of_range",
            "balance_overflow",
            "insufficient_funds",
            "balance_limit_exceeded",
            *COMMAND_PROBLEMS,
        ),
    )
    async def reverse_transfer(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        transfer_id: FromPath[UUID],
        data: JSONBody[ReversalRequest],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[TransferView]:
        """Move a transfer back, whole or in parts: a new transfer in the opposite direction that names it. The parts
        never exceed the whole. A reversal itself cannot be reversed.
        """
        command = ReverseTransfer.of(
            ledger.id,
            request.user.client,
            command_key(idempotency_key, dry_run=dry_run),
            transfer_id=transfer_id,
            amount=data.amount,
            reference=data.reference,
            description=data.description,
            metadata=data.metadata,
            effective_at=in_utc(data.effective_at),
        )
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @get(opt={"scope": "read"}, operation_id="listTransfers", responses=responses("cursor_invalid"))
    async def list_transfers(
        self,
        request: Request[Principal, Any, Any],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        account_id: FromQuery[UUID | None] = None,
        debit_account_reference: Annotated[
            Reference | None, QueryParameter(description="Only debits of the account with this reference.")
        ] = None,
        credit_account_reference: Annotated[
            Reference | None, QueryParameter(description="Only credits of the account with this reference.")
        ] = None,
        reference: Annotated[
            Reference | None,
            QueryParameter(
                description="Only with this reference. Beside `account_id`, `hold_id` or `reverses_id`, a page looks"
                " through 1,000 transfers at most and may have fewer items than there are, even none: follow"
                " `next_cursor` until it is null."
            ),
        ] = None,
        hold_id: Annotated[UUID | None, QueryParameter(description="Only captures of this hold.")] = None,
        reverses_id: Annotated[UUID | None, QueryParameter(description="Only reversals of this transfer.")] = None,
        created_from: Annotated[Time | None, QueryParameter(description="The earliest created_at.")] = None,
        created_to: Annotated[Time | None, QueryParameter(description="created_at lies before this.")] = None,
    ) -> Response[Page[TransferView]]:
        """List transfers, newest first. One filter at most by account, hold or reversed transfer; an account's
        reference excludes the other filters.
        """

        def answered(
            rows: Callable[[TransferRepository], Slices[Transfer | ScanEnd] | Slices[Transfer]],
            position: Callable[[Transfer], Any],
        ) -> Awaitable[Response[Page[TransferView]]]:
            return page_response(
                request,
                reader,
                lambda session: rows(TransferRepository(session)),
                limit=limit,
                view=lambda row: transfer_view(ledger.name, row),
                position=position,
            )

        by_reference = debit_account_reference or credit_account_reference
        exclusive = [account_id, debit_account_reference, credit_account_reference, hold_id, reverses_id]
        if len([one for one in exclusive if one is not None]) > 1:
            raise malformed("/query", "only one filter by account, hold or reversed transfer can be given")
        if by_reference is not None:
            if reference is not None or created_from is not None or created_to is not None:
                raise malformed("/query/reference", "cannot be combined with a filter by an account's reference")
            side: Side = "debit" if debit_account_reference else "credit"
            version = decode_cursor(request, cursor, Version)
            return await answered(
                lambda transfers: transfers.page_of_account_reference(
                    ledger.id, side, by_reference, limit=limit + 1, before_version=version
                ),
                lambda row: row.debit_account_version if side == "debit" else row.credit_account_version,
            )
        times = {"created_from": created_from, "created_to": created_to}
        if account_id is not None and reference is None:
            version = decode_cursor(request, cursor, Version)
            return await answered(
                lambda transfers: transfers.page_of_account(
                    ledger.id, account_id, limit=limit + 1, before_version=version, **times
                ),
                lambda row: _version_of(row, account_id),
            )
        before = decode_cursor(request, cursor, UUID)
        if account_id is not None and reference is not None:
            return await answered(
                lambda transfers: transfers.page_of_account_and_reference(
                    ledger.id, account_id, reference, limit=limit + 1, before=before, **times
                ),
                lambda row: row.id,
            )
        return await answered(
            lambda transfers: transfers.page(
                ledger.id,
                limit=limit + 1,
                before=before,
                reference=reference,
                hold_id=hold_id,
                reverses_id=reverses_id,
                **times,
            ),
            lambda row: row.id,
        )

    @get(
        "/{transfer_id:uuid}",
        opt={"scope": "read", "direct": True},
        operation_id="getTransfer",
        responses=responses("transfer_not_found"),
    )
    async def get_transfer(
        self,
        services: NamedDependency[Services],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        transfer_id: FromPath[UUID],
        expand: Annotated[
            Literal["accounts"] | None, QueryParameter(description="`accounts`: with both accounts as they are now.")
        ] = None,
    ) -> Response[TransferView]:
        """Read one transfer."""
        if expand is None:
            fact, as_of = await services.transfers.get(ledger.id, transfer_id)
            view = None if fact is None else transfer_view(ledger.name, fact)
        else:
            as_of = None  # the reader tells it
            found = await reader(
                lambda session: TransferRepository(session).with_accounts(ledger.id, transfer_id),
                enough=lambda found: found is not None,
            )
            view = None if found is None else expanded_transfer_view(ledger.name, found)
        if view is None:
            raise ProblemError("transfer_not_found", members={"transfer_id": str(transfer_id)})
        return Response(view, headers=as_of_header(as_of))


def transfer_command(data: TransferRequest, ledger: LedgerRef, principal: Principal, key: str) -> PostTransfer:
    """Return the command that ``data`` asks for."""
    at_most = isinstance(data.amount, AtMost)
    return PostTransfer.of(
        ledger.id,
        principal.client,
        key,
        debit_account_id=data.debit_account_id,
        credit_account_id=data.credit_account_id,
        amount=data.amount.at_most if isinstance(data.amount, AtMost) else data.amount,
        at_most=at_most,
        currency=data.currency,
        reference=data.reference,
        description=data.description,
        metadata=data.metadata,
        effective_at=in_utc(data.effective_at),
    )


def _version_of(transfer: Transfer, account_id: UUID) -> int:
    if transfer.debit_account_id == account_id:
        return transfer.debit_account_version
    return transfer.credit_account_version
