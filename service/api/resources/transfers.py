"""Transfers: post, reverse, read, list."""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from service.access.principal import Principal
from service.api.context import LedgerRef, Services, as_of_header
from service.api.http.decoding import StrictJSON
from service.api.http.idempotency import IdempotencyKey
from service.api.http.pagination import LIMIT_DEFAULT, Cursor, Limit, Order, decode_cursor, page_response
from service.api.http.problems import responses, write_responses
from service.api.resources import transfer_parameters as parameters
from service.api.resources.commands import DryRun, carry_out, command_key, dry_run_response, in_utc
from service.api.resources.views import expanded_transfer_view, transfer_view
from service.domain.commands import PostTransfer, ReverseTransfer
from service.domain.history import Caller
from service.domain.rejections import TransferNotFound
from service.domain.rules import RULES
from service.domain.texts import words_of
from service.errors import ProblemError
from service.storage.repositories import Repositories
from service.storage.transactions import Reader
from service.storage.transfer_filters import Position, TransferFilters
from service.wire.errors import MalformedError
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid
from service.wire.transfers import AtMost, ReversalRequest, TransferRequest
from service.wire.views import TransferView


class TransferController(Controller):
    """Transfers of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/transfers"
    tags = ("Transfers",)

    @post(
        dto=StrictJSON[TransferRequest],
        opt={"scope": "transfers:write", "direct": True},
        operation_id="postTransfer",
        responses=dry_run_response(TransferView) | write_responses(*RULES["post_transfer"]),
    )
    async def post_transfer(
        self,
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        data: JSONBody[TransferRequest],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[TransferView]:
        """Move money, exactly once. Rules are checked in the order in which the problems are listed here; a refusal
        is remembered under the key like a transfer.
        """
        command = transfer_command(data, caller, command_key(idempotency_key, dry_run=dry_run))
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @post(
        "/{transfer_id:uuid}/reversals",
        dto=StrictJSON[ReversalRequest],
        opt={"scope": "transfers:write", "direct": True},
        operation_id="reverseTransfer",
        responses=dry_run_response(TransferView) | write_responses(*RULES["reverse_transfer"]),
    )
    async def reverse_transfer(
        self,
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        transfer_id: FromPath[UUID],
        data: JSONBody[ReversalRequest],
        idempotency_key: IdempotencyKey = None,
        dry_run: DryRun = False,  # noqa: FBT002
    ) -> Response[TransferView]:
        """Move a transfer back, whole or in parts: a new transfer in the opposite direction that names it. The parts
        never exceed the whole. A reversal itself cannot be reversed.
        """
        command = ReverseTransfer(
            ledger_id=caller.ledger_id,
            client_id=caller.client_id,
            request_id=caller.request_id,
            debit_limit=caller.debit_limit,
            idempotency_key=command_key(idempotency_key, dry_run=dry_run),
            transfer_id=transfer_id,
            amount=data.amount,
            reference=data.reference,
            description=data.description,
            metadata=data.metadata,
            effective_at=in_utc(data.effective_at),
        )
        return await carry_out(services, ledger, command, dry_run=dry_run)

    @get(opt={"scope": "read"}, operation_id="listTransfers", responses=responses(CursorInvalid))
    async def list_transfers(
        self,
        request: Request[Principal, Any, Any],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        order: Order = "desc",
        account_id: parameters.AccountId = None,
        debit_account_reference: parameters.DebitAccountReference = None,
        credit_account_reference: parameters.CreditAccountReference = None,
        counterparty_id: parameters.CounterpartyId = None,
        reference: parameters.Reference = None,
        reference_prefix: parameters.ReferencePrefix = None,
        hold_id: parameters.HoldId = None,
        reverses_id: parameters.ReversesId = None,
        created_from: parameters.CreatedFrom = None,
        created_to: parameters.CreatedTo = None,
        effective_from: parameters.EffectiveFrom = None,
        effective_to: parameters.EffectiveTo = None,
        amount_min: parameters.AmountMin = None,
        amount_max: parameters.AmountMax = None,
        currency: parameters.Currency = None,
        client: parameters.Client = None,
        description: parameters.Description = None,
        metadata: parameters.Metadata = None,
    ) -> Response[Page[TransferView]]:
        """List transfers by when they were posted; filters combine. One at most of account_id, debit_account_reference
        and credit_account_reference, and one of hold_id and reverses_id.

        What no index keeps to is looked for along one: a page looks through 1,000 transfers at most and may have fewer
        items than there are, even none. Follow `next_cursor` until it is null or, in rising order, does not change.
        Amount, currency, client, description and metadata are not looked for in a whole ledger: beside them give an
        account, a hold, a reversed transfer, a reference or its prefix, or both ends of a window of 366 days at most,
        of created_at or of value dates.
        """
        filters = TransferFilters(
            account_id=account_id,
            debit_account_reference=debit_account_reference,
            credit_account_reference=credit_account_reference,
            counterparty_id=counterparty_id,
            reference=reference,
            reference_prefix=reference_prefix,
            hold_id=hold_id,
            reverses_id=reverses_id,
            created_from=created_from,
            created_to=created_to,
            effective_from=effective_from,
            effective_to=effective_to,
            amount_min=amount_min,
            amount_max=amount_max,
            currency=currency,
            client_id=client,
            description_words=None if description is None else words_of(description),
            metadata=metadata,
        )
        _check(filters)
        after: Position | None = decode_cursor(request, order, cursor, filters.position_type)
        return await page_response(
            request,
            reader,
            lambda session: Repositories(session).transfers.page(
                ledger.id, filters, limit=limit + 1, order=order, after=after
            ),
            order=order,
            limit=limit,
            view=lambda row: transfer_view(ledger.name, row),
            position=filters.position,
            appended=filters.walk != "prefix",
        )

    @get(
        "/{transfer_id:uuid}",
        opt={"scope": "read", "direct": True},
        operation_id="getTransfer",
        responses=responses(TransferNotFound),
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
                lambda session: Repositories(session).transfers.with_accounts(ledger.id, transfer_id),
                enough=lambda found: found is not None,
            )
            view = None if found is None else expanded_transfer_view(ledger.name, found)
        if view is None:
            raise ProblemError(TransferNotFound(transfer_id))
        return Response(view, headers=as_of_header(as_of))


def transfer_command(data: TransferRequest, caller: Caller, key: str) -> PostTransfer:
    """Return the command that ``data`` asks for."""
    at_most = isinstance(data.amount, AtMost)
    return PostTransfer(
        ledger_id=caller.ledger_id,
        client_id=caller.client_id,
        request_id=caller.request_id,
        debit_limit=caller.debit_limit,
        idempotency_key=key,
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


_EXCLUSIVE = (
    ("account_id", "debit_account_reference", "credit_account_reference"),
    ("hold_id", "reverses_id"),
)
_WINDOW_MAX = timedelta(days=366)
"""The longest window of a whole ledger in which a search looks at each transfer."""


def _check(filters: TransferFilters) -> None:
    """Raise MalformedError for filters that exclude each other, or that would look at every transfer of a ledger."""
    for names in _EXCLUSIVE:
        if sum(getattr(filters, name) is not None for name in names) > 1:
            raise MalformedError("/query", f"only one of {', '.join(names)} can be given")
    if filters.counterparty_id is not None and all(getattr(filters, name) is None for name in _EXCLUSIVE[0]):
        raise MalformedError("/query/counterparty_id", f"the other side needs one of {', '.join(_EXCLUSIVE[0])}")
    asked = [name for name in filters.sifted if name not in {"effective_from", "effective_to"}]
    if filters.walk in {"all", "dated"} and asked and not filters.has_window(_WINDOW_MAX):
        name = {"client_id": "client", "description_words": "description"}.get(asked[0], asked[0])
        raise MalformedError(
            f"/query/{name}",
            "this is not looked for in a whole ledger; beside it give an account, a hold, a reversed transfer, a"
            " reference or its prefix, or both ends of a window of at most 366 days (created_from and created_to, or"
            " effective_from and effective_to)",
        )
