"""Closing a ledger up to a value date, and reading what was closed when, by whom."""

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from service.access.principal import Principal
from service.api.context import LedgerRef, Services
from service.api.http.decoding import StrictJSON
from service.api.http.idempotency import IdempotencyKey, parse_key
from service.api.http.pagination import (
    LIMIT_DEFAULT,
    Cursor,
    Limit,
    Order,
    decode_cursor,
    page_response,
)
from service.api.http.problems import rejected, replay_header, responses, write_responses
from service.api.resources.views import closing_view
from service.domain.fingerprints import request_fingerprint
from service.domain.history import Caller
from service.domain.periods import ClosingTerms
from service.domain.rejections import Rejection
from service.domain.rules import RULES
from service.posting.periods import close_period
from service.storage.repositories import Repositories
from service.storage.transactions import Reader
from service.wire.closings import ClosingRequest, ClosingView
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid


class ClosingController(Controller):
    """Closings of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/closings"
    tags = ("Closings",)

    @post(
        dto=StrictJSON[ClosingRequest],
        opt={"scope": "admin"},
        operation_id="closePeriod",
        responses=write_responses(*RULES["close_period"]),
    )
    async def close_period(
        self,
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
        caller: NamedDependency[Caller],
        data: JSONBody[ClosingRequest],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[ClosingView]:
        """Close a ledger up to a value date: what was posted before stays as it is, and nothing more is dated before
        it. Or open a period again, by a closing that says why.
        """
        key = caller.under(
            parse_key(idempotency_key), "close_period", fingerprint=request_fingerprint("close_period", data)
        )
        services.damaged.refuse_writes(ledger.id)
        asked = ClosingTerms(closed_until=data.closed_until, late_entries=data.late_entries, reason=data.reason)
        closed = await close_period(services.transactions, services.settings, key, asked)
        closing = closed.result
        if isinstance(closing, Rejection):
            raise rejected(closing, ledger, replayed=closed.replayed)
        return Response(closing_view(ledger.name, closing), headers=replay_header(replayed=closed.replayed))

    @get(opt={"scope": "read"}, operation_id="listClosings", responses=responses(CursorInvalid))
    async def list_closings(
        self,
        request: Request[Principal, Any, Any],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        order: Order = "desc",
    ) -> Response[Page[ClosingView]]:
        """List the closings of a ledger: the newest one is in force."""
        after = decode_cursor(request, order, cursor, UUID)
        return await page_response(
            request,
            reader,
            lambda session: Repositories(session).history.closings(
                ledger.id, order=order, after=after, limit=limit + 1
            ),
            order=order,
            limit=limit,
            view=lambda closing: closing_view(ledger.name, closing),
            position=lambda closing: closing.id,
        )
