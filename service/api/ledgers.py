"""Ledgers: create, read, list."""

from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from service.api.context import LedgerRef, Services
from service.api.idempotency import IdempotencyKey, parse_key
from service.api.pagination import LIMIT_DEFAULT, Cursor, Limit, Page, decode_cursor, page_response
from service.api.paths import public_prefix
from service.api.problems import ProblemError, replay_header, responses
from service.api.schemas import LedgerName, LedgerRequest, LedgerView, ledger_view
from service.api.security import Principal
from service.api.wire import StrictJSON
from service.domain.fingerprints import request_fingerprint
from service.engine import administration
from service.engine.administration import NO_LEDGER, Refused
from service.storage.decisions import Key
from service.storage.ledgers import LedgerRepository
from service.storage.retry import Reader


class LedgerController(Controller):
    """Ledgers by name."""

    path = "/v1/ledgers"
    tags = ("Ledgers",)

    @post(
        dto=StrictJSON[LedgerRequest],
        opt={"scope": "admin"},
        operation_id="createLedger",
        responses=responses("reference_taken", "idempotency_key_reused"),
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
            raise ProblemError("forbidden", "This token is limited to other ledgers.")
        key = Key(
            ledger_id=NO_LEDGER,
            client_id=request.user.client,
            idempotency_key=parse_key(idempotency_key),
            fingerprint=request_fingerprint("create_ledger", data),
            operation="create_ledger",
        )
        created = await administration.create_ledger(
            services.database, services.settings, key, name=data.name, description=data.description
        )
        if isinstance(created, Refused):
            earlier = created.rejection.members.get("earlier_request", {})
            if not request.user.sees(earlier.get("ledger", data.name)):  # another token of the client made it
                raise ProblemError("idempotency_key_reused", members={"idempotency_key": key.idempotency_key})
            raise ProblemError.from_rejection(
                created.rejection, path_prefix=public_prefix(request.scope), ledger=None, replayed=created.replayed
            )
        location = f"{public_prefix(request.scope)}/v1/ledgers/{data.name}"
        headers = {"Location": location} | replay_header(replayed=created.replayed)
        return Response(ledger_view(created.row), headers=headers)

    @get(opt={"scope": "read"}, operation_id="listLedgers", responses=responses("cursor_invalid"))
    async def list_ledgers(
        self,
        request: Request[Principal, Any, Any],
        reader: NamedDependency[Reader],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Response[Page[LedgerView]]:
        """List the ledgers that the token is for, by name."""
        after = decode_cursor(request, cursor, LedgerName)
        names = None if request.user.ledgers is None else sorted(request.user.ledgers)
        return await page_response(
            request,
            reader,
            lambda session: LedgerRepository(session).page(limit=limit + 1, after=after, names=names),
            limit=limit,
            view=ledger_view,
            position=lambda row: row.name,
        )

    @get("/{ledger_name:str}", opt={"scope": "read"}, operation_id="getLedger", responses=responses())
    async def get_ledger(self, services: NamedDependency[Services], ledger: NamedDependency[LedgerRef]) -> LedgerView:
        """Read one ledger."""
        found = await services.ledgers.read(ledger.name)
        if found is None:
            raise ProblemError("ledger_not_found")
        return ledger_view(found)
