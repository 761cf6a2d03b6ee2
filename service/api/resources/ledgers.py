"""Ledgers: create, read, list."""

from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter
from msgspec import UNSET

from service.access.principal import Principal
from service.api.context import LedgerRef, Services, installation_of, reader_for
from service.api.http.decoding import StrictJSON
from service.api.http.idempotency import IdempotencyKey, parse_key
from service.api.http.pagination import LIMIT_DEFAULT, Cursor, Limit, decode_cursor, page_response
from service.api.http.problems import rejected, replay_header, responses, write_responses
from service.api.resources.views import ledger_view
from service.domain.decisions import Key
from service.domain.fingerprints import request_fingerprint
from service.domain.history import source_of
from service.domain.ledgers import NO_LEDGER
from service.domain.rejections import IdempotencyKeyReused, Rejection
from service.domain.rules import RULES
from service.errors import ProblemError
from service.posting import accounts as administration
from service.storage.lists import ListOrder
from service.storage.repositories import Repositories
from service.telemetry.records import record_of
from service.wire import reasons
from service.wire.ledgers import LedgerRequest, LedgerView
from service.wire.pages import Page
from service.wire.reasons import CursorInvalid, Forbidden, LedgerNotFound
from service.wire.scalars import LedgerName


class LedgerController(Controller):
    """Ledgers by name."""

    path = "/v1/ledgers"
    tags = ("Ledgers",)

    @post(
        dto=StrictJSON[LedgerRequest],
        opt={"scope": "admin"},
        operation_id="createLedger",
        responses=write_responses(*RULES["create_ledger"]),
    )
    async def create_ledger(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        data: JSONBody[LedgerRequest],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[LedgerView]:
        """Create a ledger. A token that is limited to some ledgers cannot."""
        if not request.user.sees(data.name):
            raise ProblemError(Forbidden(), "This token is limited to other ledgers.")
        services.damaged.refuse_writes(NO_LEDGER)
        key = Key(
            ledger_id=NO_LEDGER,
            client_id=request.user.client,
            request_id=record_of(request.scope).id,
            idempotency_key=parse_key(idempotency_key),
            fingerprint=request_fingerprint("create_ledger", data),
            operation="create_ledger",
        )
        created = await administration.create_ledger(
            services.transactions, services.settings, key, name=data.name, description=data.description
        )
        made = created.result
        if isinstance(made, Rejection):
            earlier = made.earlier_request.ledger if isinstance(made, IdempotencyKeyReused) else UNSET
            if earlier is not UNSET and not request.user.sees(earlier):  # another token of the client made it
                raise ProblemError(reasons.IdempotencyKeyReused(key.idempotency_key))
            raise rejected(made, installation_of(services), replayed=created.replayed)
        location = f"{services.settings.path_prefix}{source_of(data.name)}"
        headers = {"Location": location} | replay_header(replayed=created.replayed)
        return Response(ledger_view(made), headers=headers)

    @get(opt={"scope": "read"}, operation_id="listLedgers", responses=responses(CursorInvalid))
    async def list_ledgers(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
        order: Annotated[ListOrder, QueryParameter(description="By name: rising, or falling.")] = "asc",
    ) -> Response[Page[LedgerView]]:
        """List the ledgers that the token is for, by name."""
        after = decode_cursor(request, order, cursor, LedgerName)
        names = None if request.user.ledgers is None else sorted(request.user.ledgers)
        return await page_response(
            request,
            reader_for(request.scope, services.reader),
            lambda session: Repositories(session).ledgers.page(limit=limit + 1, order=order, after=after, names=names),
            order=order,
            limit=limit,
            view=ledger_view,
            position=lambda row: row.name,
            appended=False,
        )

    @get("/{ledger_name:str}", opt={"scope": "read"}, operation_id="getLedger", responses=responses())
    async def get_ledger(self, services: NamedDependency[Services], ledger: NamedDependency[LedgerRef]) -> LedgerView:
        """Read one ledger."""
        found = await services.ledgers.read(ledger.name)
        if found is None:
            raise ProblemError(LedgerNotFound())
        return ledger_view(found)
