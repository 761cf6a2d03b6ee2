"""Accounts: open, read, list, revise."""

from collections.abc import Collection
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from litestar import Controller, Request, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from service.access.principal import Principal
from service.api.context import LedgerRef, Services, as_of_header
from service.api.http.decoding import StrictJSON
from service.api.http.idempotency import IdempotencyKey, OptionalIdempotencyKey, parse_key
from service.api.http.pagination import (
    LIMIT_DEFAULT,
    Cursor,
    Fitting,
    Limit,
    Order,
    decode_cursor,
    fitting,
    page_response,
)
from service.api.http.preconditions import IfMatch, expected_tags
from service.api.http.problems import rejected, replay_header, responses, write_responses
from service.api.resources.views import account_view, expanded_transfer_view, hold_view
from service.domain.accounts import AccountDetails, AccountRevision, NewAccount, revision_tag
from service.domain.codes import stands_for
from service.domain.decisions import Key
from service.domain.fingerprints import request_fingerprint
from service.domain.history import Caller
from service.domain.rejections import AccountNotFound, Rejection
from service.domain.rules import RULES
from service.errors import ProblemError
from service.posting import accounts as administration
from service.storage.database import Session
from service.storage.lists import ListOrder
from service.storage.repositories import Repositories
from service.storage.transactions import Reader
from service.wire.accounts import AccountPatch, AccountRequest, AccountStatus
from service.wire.errors import MalformedError
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid, PreconditionRequired, VersionNotReached
from service.wire.scalars import AccountCode, Currency, Reference, Version
from service.wire.views import AccountView, HoldView, TransferView

_EXPANDED_HOLDS_MAX = 100


class AccountController(Controller):
    """Accounts of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/accounts"
    tags = ("Accounts",)

    @post(
        dto=StrictJSON[AccountRequest],
        opt={"scope": "accounts:write"},
        operation_id="createAccount",
        responses=write_responses(*RULES["create_account"]),
    )
    async def create_account(
        self,
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        data: JSONBody[AccountRequest],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[AccountView]:
        """Open an account with a balance of zero."""
        key = caller.under(
            parse_key(idempotency_key), "create_account", fingerprint=request_fingerprint("create_account", data)
        )
        services.damaged.refuse_writes(ledger.id)
        created = await administration.create_account(services.transactions, services.settings, key, _new_account(data))
        account = created.result
        if isinstance(account, Rejection):
            raise rejected(account, ledger, replayed=created.replayed)
        headers = {
            "Location": f"{ledger.path}/accounts/{account.id}",
            "ETag": _etag(account),
        } | replay_header(replayed=created.replayed)
        return Response(account_view(ledger.name, account), headers=headers)

    @get(opt={"scope": "read"}, operation_id="listAccounts", responses=responses(CursorInvalid))
    async def list_accounts(
        self,
        request: Request[Principal, Any, Any],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        order: Order = "desc",
        currency: FromQuery[Currency | None] = None,
        status: FromQuery[AccountStatus | None] = None,
        reference: FromQuery[Reference | None] = None,
        code: Annotated[AccountCode | None, QueryParameter(description="With just this code.")] = None,
        code_prefix: Annotated[
            AccountCode | None,
            QueryParameter(
                description="With this code, or one that goes on behind it with `:`. Not beside `code`. The list is in"
                " the order of codes (by their bytes) then, and ends in either order."
            ),
        ] = None,
    ) -> Response[Page[AccountView]]:
        """List accounts by when they were opened; filters combine. Pages may be short where a currency or a status is
        looked for among the accounts of a code: go by `next_cursor`.
        """
        filters = {"currency": currency, "status": status, "reference": reference}
        if code_prefix is not None:
            if code is not None:
                raise MalformedError("/query/code_prefix", "not beside code; give one of them")
            return await _page_of_group(request, reader, ledger, limit, cursor, order, code_prefix, filters)
        after = decode_cursor(request, order, cursor, UUID)
        return await page_response(
            request,
            reader,
            lambda session: Repositories(session).accounts.page(
                ledger.id, limit=limit + 1, order=order, after=after, code=code, **filters
            ),
            order=order,
            limit=limit,
            view=lambda row: account_view(ledger.name, row),
            position=lambda row: row.id,
        )

    @get(
        "/{account_id:uuid}",
        opt={"scope": "read", "direct": True},
        operation_id="getAccount",
        responses=responses(AccountNotFound, VersionNotReached),
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
            raise ProblemError(AccountNotFound(account_id))
        if account.version < min_version:
            raise ProblemError(VersionNotReached(account_id, account.version, min_version))
        return Response(view, headers={"ETag": _etag(account)} | as_of_header(as_of))

    @patch(
        "/{account_id:uuid}",
        dto=StrictJSON[AccountPatch],
        opt={"scope": "accounts:write"},
        operation_id="reviseAccount",
        responses=write_responses(PreconditionRequired, *RULES["revise_account"]),
    )
    async def revise_account(
        self,
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        account_id: FromPath[UUID],
        data: JSONBody[AccountPatch],
        if_match: IfMatch = None,
        idempotency_key: OptionalIdempotencyKey = None,
    ) -> Response[AccountView]:
        """Change name, code, metadata, bounds or status. Transfers in flight see the account before it or after it.
        With an Idempotency-Key, a request whose answer was lost can be sent again, with the same If-Match.
        """
        tags = expected_tags(if_match)
        author: Key | Caller = caller
        if idempotency_key is not None:
            asked = request_fingerprint("revise_account", data, account_id, tags and sorted(tags))
            author = caller.under(parse_key(idempotency_key), "revise_account", fingerprint=asked)
        services.damaged.refuse_writes(ledger.id)
        revised = await administration.revise_account(
            services.transactions,
            services.settings,
            author,
            account_id,
            _revision(data),
            expected_tags=tags,
        )
        account = revised.result
        if isinstance(account, Rejection):
            raise rejected(account, ledger, replayed=revised.replayed)
        headers = {"ETag": _etag(account)} | replay_header(replayed=revised.replayed)
        return Response(account_view(ledger.name, account), headers=headers)


async def _page_of_group(
    request: Request[Principal, Any, Any],
    reader: Reader,
    ledger: LedgerRef,
    limit: int,
    cursor: str | None,
    order: ListOrder,
    group: str,
    filters: dict[str, Any],
) -> Response[Page[AccountView]]:
    after = decode_cursor(request, order, cursor, tuple[AccountCode, UUID])
    if after is not None and not stands_for(group, after[0]):
        raise ProblemError(CursorInvalid())
    return await page_response(
        request,
        reader,
        lambda session: Repositories(session).accounts.page_of_group(
            ledger.id, group, limit=limit + 1, order=order, after=after, **filters
        ),
        order=order,
        limit=limit,
        view=lambda row: account_view(ledger.name, row),
        position=lambda row: (row.code, row.id),
        appended=False,
    )


def _new_account(data: AccountRequest) -> NewAccount:
    return NewAccount(
        currency=data.currency,
        normal_side=data.normal_side,
        reference=data.reference,
        name=data.name,
        minimum_balance=data.minimum_balance,
        maximum_balance=data.maximum_balance,
        metadata=data.metadata,
        code=data.code,
    )


def _revision(data: AccountPatch) -> AccountRevision:
    return AccountRevision(
        name=data.name,
        metadata=data.metadata,
        minimum_balance=data.minimum_balance,
        maximum_balance=data.maximum_balance,
        status=data.status,
        code=data.code,
    )


async def _expanded(
    session: Session, ledger: LedgerRef, account_id: UUID, expand: Collection[str]
) -> tuple[AccountDetails | None, AccountView | None]:
    """Read an account with what belongs to it, all in one transaction."""
    repositories = Repositories(session)
    transfers: list[TransferView] | UnsetType = UNSET
    holds: list[HoldView] | UnsetType = UNSET
    account = None
    if "transfers" in expand:
        found = await repositories.accounts.with_recent_transfers(ledger.id, account_id)
        if found is not None:
            account, recent = found
            transfers = fitting(expanded_transfer_view(ledger.name, one) for one in recent)
    else:
        account = next(iter(await repositories.accounts.by_ids(ledger.id, [account_id])), None)
    if account is None:
        return None, None
    if "holds" in expand:
        holds = await _open_holds(repositories, ledger, account_id)
    return account, account_view(ledger.name, account, transfers=transfers, holds=holds)


async def _open_holds(repositories: Repositories, ledger: LedgerRef, account_id: UUID) -> list[HoldView]:
    open_holds = Fitting()
    found = repositories.holds.page(
        ledger.id, limit=_EXPANDED_HOLDS_MAX, account_id=account_id, order="desc", status="open"
    )
    async for holds in found:
        if not all(open_holds.add(hold_view(ledger.name, hold)) for hold in holds):
            break
    return cast("list[HoldView]", open_holds.items)


def _etag(account: AccountDetails) -> str:
    return f'"{revision_tag(account)}"'
