"""Accounts: open, read, list, revise."""

from collections.abc import Collection
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from litestar import Controller, Request, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType, structs
from sqlalchemy.ext.asyncio import AsyncSession

from service.api.commands import KEY_PROBLEMS
from service.api.context import LedgerRef, Services, as_of_header
from service.api.idempotency import IdempotencyKey, OptionalIdempotencyKey, parse_key
from service.api.pagination import LIMIT_DEFAULT, Cursor, Fitting, Limit, Page, decode_cursor, fitting, page_response
from service.api.preconditions import IfMatch, expected_tags
from service.api.problems import ProblemError, replay_header, responses
from service.api.schemas import (
    AccountPatch,
    AccountRequest,
    AccountStatus,
    AccountView,
    Currency,
    HoldView,
    Reference,
    TransferView,
    Version,
    account_view,
    expanded_transfer_view,
    hold_view,
)
from service.api.security import Principal
from service.api.wire import StrictJSON
from service.domain.accounts import AccountDetails, AccountRevision, revision_tag
from service.domain.fingerprints import request_fingerprint
from service.engine import administration
from service.engine.administration import NewAccount, Refused
from service.storage.accounts import AccountRepository, details
from service.storage.decisions import Key
from service.storage.holds import HoldRepository
from service.storage.retry import Reader

_EXPANDED_HOLDS_MAX = 100


class AccountController(Controller):
    """Accounts of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/accounts"
    tags = ("Accounts",)

    @post(
        dto=StrictJSON[AccountRequest],
        opt={"scope": "accounts:write"},
        operation_id="createAccount",
        responses=responses(
            "reference_taken",
            "currency_unknown",
            "insufficient_funds",
            "balance_limit_exceeded",
            *KEY_PROBLEMS,
        ),
    )
    async def create_account(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        data: JSONBody[AccountRequest],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[AccountView]:
        """Open an account with a balance of zero."""
        key = Key(
            ledger_id=ledger.id,
            client_id=request.user.client,
            idempotency_key=parse_key(idempotency_key),
            fingerprint=request_fingerprint("create_account", data),
            operation="create_account",
        )
        created = await administration.create_account(
            services.database, services.settings, key, NewAccount(**structs.asdict(data))
        )
        if isinstance(created, Refused):
            raise ProblemError.from_rejection(
                created.rejection, path_prefix=ledger.path_prefix, ledger=ledger.name, replayed=created.replayed
            )
        account = details(created.row)
        headers = {
            "Location": f"{ledger.path}/accounts/{account.id}",
            "ETag": _etag(account),
        } | replay_header(replayed=created.replayed)
        return Response(account_view(ledger.name, account), headers=headers)

    @get(opt={"scope": "read"}, operation_id="listAccounts", responses=responses("cursor_invalid"))
    async def list_accounts(
        self,
        request: Request[Principal, Any, Any],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        currency: FromQuery[Currency | None] = None,
        status: FromQuery[AccountStatus | None] = None,
        reference: FromQuery[Reference | None] = None,
    ) -> Response[Page[AccountView]]:
        """List accounts, newest first; filters combine."""
        before = decode_cursor(request, cursor, UUID)
        return await page_response(
            request,
            reader,
            lambda session: AccountRepository(session).page(
                ledger.id, limit=limit + 1, before=before, currency=currency, status=status, reference=reference
            ),
            limit=limit,
            view=lambda row: account_view(ledger.name, row),
            position=lambda row: row.id,
        )

    @get(
        "/{account_id:uuid}",
        opt={"scope": "read", "direct": True},
        operation_id="getAccount",
        responses=responses("account_not_found", "version_not_reached"),
    )
    async def get_account(
        self,
        services: NamedDependency[Services],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        account_id: FromPath[UUID],
        expand: Annotated[
            list[Literal["transfers", "holds"]] | None,
            QueryParameter(
                description="`transfers`: with its most recent ones. `holds`: with the open ones. May be repeated. Each"
                " about 1 MiB at most; the lists of transfers and holds have all."
            ),
        ] = None,
        min_version: Annotated[
            Version,
            QueryParameter(
                description="The account's `version` that the answer must have reached, such as the one in the answer"
                " to a transfer: where reads go to a replica, it may lag behind."
            ),
        ] = 0,
    ) -> Response[AccountView]:
        """Read one account. The ETag covers what PATCH can change, not the counters. `X-Data-As-Of` says that a
        replica answered, and up to when it holds everything.
        """
        if expand is None:
            account, as_of = await services.accounts.get(
                ledger.id, account_id, lambda account: account.version >= min_version
            )
            view = None if account is None else account_view(ledger.name, account)
        else:
            as_of = None  # the reader tells it
            account, view = await reader(
                lambda session: _expanded(session, ledger, account_id, expand),
                enough=lambda found: found[0] is not None and found[0].version >= min_version,
            )
        if account is None or view is None:
            raise ProblemError("account_not_found", members={"account_id": str(account_id)})
        if account.version < min_version:
            members = {"account_id": str(account_id), "version": account.version, "min_version": min_version}
            raise ProblemError("version_not_reached", members=members)
        return Response(view, headers={"ETag": _etag(account)} | as_of_header(as_of))

    @patch(
        "/{account_id:uuid}",
        dto=StrictJSON[AccountPatch],
        opt={"scope": "accounts:write"},
        operation_id="reviseAccount",
        responses=responses(
            "account_not_found",
            "version_mismatch",
            "precondition_required",
            "account_closed",
            "account_not_empty",
            "insufficient_funds",
            "balance_limit_exceeded",
            "clock_behind",
            *KEY_PROBLEMS,
        ),
    )
    async def revise_account(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        account_id: FromPath[UUID],
        data: JSONBody[AccountPatch],
        if_match: IfMatch = None,
        idempotency_key: OptionalIdempotencyKey = None,
    ) -> Response[AccountView]:
        """Change name, metadata, bounds or status. Transfers in flight see the account before it or after it. With an
        Idempotency-Key, a request whose answer was lost can be sent again, with the same If-Match.
        """
        tags = expected_tags(if_match)
        key = None
        if idempotency_key is not None:
            key = Key(
                ledger_id=ledger.id,
                client_id=request.user.client,
                idempotency_key=parse_key(idempotency_key),
                fingerprint=request_fingerprint("revise_account", data, account_id, tags and sorted(tags)),
                operation="revise_account",
            )
        revised = await administration.revise_account(
            services.database,
            services.settings,
            ledger.id,
            account_id,
            AccountRevision(**{name: getattr(data, name) for name in data.__struct_fields__}),
            expected_tags=tags,
            key=key,
        )
        if isinstance(revised, Refused):
            raise ProblemError.from_rejection(
                revised.rejection, path_prefix=ledger.path_prefix, ledger=ledger.name, replayed=revised.replayed
            )
        account = details(revised.row)
        headers = {"ETag": _etag(account)} | replay_header(replayed=revised.replayed)
        return Response(account_view(ledger.name, account), headers=headers)


async def _expanded(
    session: AsyncSession, ledger: LedgerRef, account_id: UUID, expand: Collection[str]
) -> tuple[AccountDetails | None, AccountView | None]:
    """Read an account with what belongs to it, all in one transaction."""
    repository = AccountRepository(session)
    transfers: list[TransferView] | UnsetType = UNSET
    holds: list[HoldView] | UnsetType = UNSET
    account = None
    if "transfers" in expand:
        found = await repository.with_recent_transfers(ledger.id, account_id)
        if found is not None:
            account = details(found)
            transfers = fitting(expanded_transfer_view(ledger.name, row) for row in found.recent_transfers)
    else:
        account = next(iter(await repository.by_ids(ledger.id, [account_id])), None)
    if account is None:
        return None, None
    if "holds" in expand:
        holds = await _open_holds(session, ledger, account_id)
    return account, account_view(ledger.name, account, transfers=transfers, holds=holds)


async def _open_holds(session: AsyncSession, ledger: LedgerRef, account_id: UUID) -> list[HoldView]:
    open_holds = Fitting()
    found = HoldRepository(session).page(ledger.id, limit=_EXPANDED_HOLDS_MAX, account_id=account_id, status="open")
    async for holds in found:
        if not all(open_holds.add(hold_view(ledger.name, hold)) for hold in holds):
            break
    return cast("list[HoldView]", open_holds.items)


def _etag(account: AccountDetails) -> str:
    return f'"{revision_tag(account)}"'
