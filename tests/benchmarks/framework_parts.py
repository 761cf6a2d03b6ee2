"""What the framework's benchmark calls: an empty handler, the same with one part more each, and the whole application.

What lies behind the handlers is replaced by values at hand, so that no database is needed and nothing is waited for.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, cast
from uuid import UUID

from litestar import Controller, Litestar, Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec import Struct, structs

from service.access.authenticator import Authenticator, Verified
from service.access.principal import Principal
from service.access.usage import ClientLimits
from service.access.uses import TokenUse
from service.api import context
from service.api.http.authorization import Authorization
from service.api.http.decoding import StrictJSON
from service.api.http.problems import EXCEPTION_HANDLERS
from service.api.resources.views import account_view
from service.app import create_app, make_services
from service.domain.accounts import AccountDetails
from service.domain.decisions import Answer, CommandAnswer
from service.domain.transfers import Transfer
from service.settings import Settings
from service.telemetry.requests import RequestTelemetry
from service.wire.transfers import TransferRequest
from service.wire.views import AccountView
from tests.benchmarks.baselines import bare_asgi
from tests.benchmarks.traffic import account_id

Headers = list[tuple[bytes, bytes]]

_TOKEN = "t" * 40
_LEDGER = "/v1/ledgers/main"
_ACCOUNT, _OTHER = UUID(account_id(1)), UUID(account_id(2))
_BODY = f'{{"debit_account_id":"{_ACCOUNT}","credit_account_id":"{_OTHER}","amount":17,"currency":"USD"}}'.encode()
_NOW = datetime.now(UTC)
_TRANSFER = Transfer(
    ledger_id=1,
    id=_OTHER,
    debit_account_id=_ACCOUNT,
    credit_account_id=_OTHER,
    amount=17,
    currency="USD",
    debit_account_version=3,
    credit_account_version=4,
    debit_balance_after=100,
    credit_balance_after=200,
    effective_at=_NOW,
    created_at=_NOW,
    client_id="admin",
    idempotency_key="key",
)
_READ = AccountDetails(_ACCOUNT, "USD", "credit", "open", 0, None, 0, 5, 0, 0, 7, _NOW, _NOW, None, None, {})
_OK = {"ok": True}


class Leg(Struct, frozen=True):
    """An application and the request that it is sent, answered with ``status``."""

    name: str
    app: Any
    method: str
    path: str
    headers: Headers
    body: bytes
    status: int


class _Thing(Struct):
    """What a dependency gives."""


_THING = _Thing()


def legs() -> Iterator[Leg]:
    """Yield every leg; the first one is what the others are held against."""
    yield _get("empty handler", _app(_empty))
    yield Leg("bare ASGI application", bare_asgi, "GET", "/", [], b"", 201)
    yield from _answers()
    yield from _surroundings()
    yield from _arguments()
    yield from _dependencies()
    yield from _bodies()
    yield from _service(direct=False)
    yield from _service(direct=True)


def _app(*handlers: Any, **options: Any) -> Litestar:
    return Litestar(list(handlers), **{"openapi_config": None, "logging_config": None} | options)


def _get(name: str, app: Any, path: str = "/", headers: Headers | None = None) -> Leg:
    return Leg(name, app, "GET", path, [(b"host", b"127.0.0.1"), *(headers or [])], b"", 200)


def _post(name: str, app: Any, path: str = "/", headers: Headers | None = None) -> Leg:
    more = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
    return Leg(name, app, "POST", path, [(b"host", b"127.0.0.1"), *(headers or []), *more], _BODY, 201)


@get("/")
async def _empty() -> dict[str, bool]:
    return _OK


def _answers() -> Iterator[Leg]:
    """Yield other ways to answer."""

    @get("/")
    async def response() -> Response[dict[str, bool]]:
        return Response(_OK, headers={"ETag": '"tag"'})

    @get("/")
    async def view() -> AccountView:
        return account_view("main", _READ)

    @get("/")
    async def asgi() -> ASGIApp:
        return cast("ASGIApp", ASGIResponse(body=b'{"ok":true}'))

    @get("/", sync_to_thread=False)
    def sync() -> dict[str, bool]:
        return _OK

    class Empty(Controller):
        @get("/")
        async def empty(self) -> dict[str, bool]:
            return _OK

    yield _get("answer: Response with a header", _app(response))
    yield _get("answer: an account's view", _app(view))
    yield _get("answer: finished bytes (ASGIResponse)", _app(asgi))
    yield _get("a function that is no coroutine", _app(sync))
    yield _get("a controller", _app(Empty))


class _Passing(ASGIMiddleware):
    """A middleware that does nothing."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass on."""
        await next_app(scope, receive, send)


async def _hook(answer: Any) -> Any:
    return answer


async def _hook_before(_request: Any) -> None:
    """Do nothing."""


def _surroundings() -> Iterator[Leg]:
    """Yield what stands around a handler."""

    @get("/", opt={"scope": "read"})
    async def authorized() -> dict[str, bool]:
        return _OK

    admitting = _app(authorized, middleware=[Authorization()])
    admitting.state.authenticator = _authenticator()
    yield _get("middleware that does nothing", _app(_empty, middleware=[_Passing()]))
    yield _get("middleware Authorization", admitting, headers=[_authorization()])
    yield _get("exception handlers", _app(_empty, exception_handlers=EXCEPTION_HANDLERS))
    yield _get("before_request hook", _app(_empty, before_request=_hook_before))
    yield _get("after_request hook", _app(_empty, after_request=_hook))
    yield _get("logging as Litestar has it", Litestar([_empty], openapi_config=None))
    yield _get("OpenAPI as Litestar has it", Litestar([_empty], logging_config=None))


def _arguments() -> Iterator[Leg]:
    """Yield the arguments that a handler can take."""

    @get("/{thing_id:uuid}")
    async def path(thing_id: FromPath[UUID]) -> dict[str, bool]:  # noqa: ARG001
        return _OK

    @get("/")
    async def request(request: Request[Any, Any, Any]) -> dict[str, bool]:  # noqa: ARG001
        return _OK

    @get("/")
    async def header(key: Annotated[str | None, HeaderParameter(name="Idempotency-Key")] = None) -> dict[str, bool]:  # noqa: ARG001
        return _OK

    @get("/")
    async def query(dry_run: FromQuery[bool] = False) -> dict[str, bool]:  # noqa: ARG001, FBT002
        return _OK

    yield _get("argument: identifier in the path", _app(path), f"/{_ACCOUNT}")
    yield _get("argument: the request", _app(request))
    yield _get("argument: a header", _app(header), headers=[_key()])
    yield _get("argument: a query parameter, left out", _app(query))


async def _from_request(request: Request[Any, Any, Any]) -> _Thing:  # noqa: ARG001
    return _THING


async def _from_nothing() -> _Thing:
    return _THING


async def _from_elsewhere() -> _Thing:
    return _THING


async def _behind(request: Request[Any, Any, Any], first: NamedDependency[_Thing]) -> _Thing:  # noqa: ARG001
    return first


async def _last(request: Request[Any, Any, Any], second: NamedDependency[_Thing]) -> _Thing:  # noqa: ARG001
    return second


def _dependencies() -> Iterator[Leg]:
    """Yield dependencies: one, chains, and three that Litestar resolves in a task group."""

    @get("/")
    async def one(first: NamedDependency[_Thing]) -> dict[str, bool]:  # noqa: ARG001
        return _OK

    @get("/")
    async def two(first: NamedDependency[_Thing], second: NamedDependency[_Thing]) -> dict[str, bool]:  # noqa: ARG001
        return _OK

    @get("/")
    async def three(
        first: NamedDependency[_Thing],  # noqa: ARG001
        second: NamedDependency[_Thing],  # noqa: ARG001
        third: NamedDependency[_Thing],  # noqa: ARG001
    ) -> dict[str, bool]:
        return _OK

    chain = {"first": Provide(_from_request), "second": Provide(_behind), "third": Provide(_last)}
    provided = {"first": Provide(_from_nothing), "second": Provide(_from_elsewhere), "third": Provide(_from_request)}
    yield _get("one dependency, of nothing", _app(one, dependencies=provided))
    yield _get("one dependency, of the request", _app(one, dependencies=chain))
    yield _get("a chain of two", _app(two, dependencies=chain))
    yield _get("a chain of three", _app(three, dependencies=chain))
    yield _get("three independent ones", _app(three, dependencies=provided))


def _bodies() -> Iterator[Leg]:
    """Yield ways to take a body."""

    @post("/")
    async def unread() -> dict[str, bool]:
        return _OK

    @post("/")
    async def raw(body: bytes) -> dict[str, bool]:  # noqa: ARG001
        return _OK

    @post("/")
    async def lax(data: JSONBody[TransferRequest]) -> dict[str, bool]:  # noqa: ARG001
        return _OK

    @post("/", dto=StrictJSON[TransferRequest])
    async def strict(data: JSONBody[TransferRequest]) -> dict[str, bool]:  # noqa: ARG001
        return _OK

    yield _post("body: not read", _app(unread))
    yield _post("body: read, not decoded", _app(raw))
    yield _post("body: read without a limit", _app(raw, request_max_body_size=None))
    yield _post("body: decoded by Litestar", _app(lax))
    yield _post("body: dto=StrictJSON", _app(strict))


class _Committer:
    """Stands for group commit: every command is posted at once."""

    async def submit(self, _ledger_id: int, _groups: Any) -> list[list[CommandAnswer]]:
        """Return a transfer."""
        return [[Answer(_TRANSFER)]]


class _Rows:
    """Stands for look-ups of rows: every one finds ``row``."""

    def __init__(self, row: Any) -> None:
        self._row = row

    async def get(self, *_: Any) -> tuple[Any, None]:
        """Return the row."""
        return self._row, None


class _Ledgers:
    """Stands for the directory of ledgers."""

    async def find(self, name: str) -> context.LedgerRef:
        """Return a ledger."""
        return context.LedgerRef(1, name, "")


def _service(*, direct: bool) -> Iterator[Leg]:
    """Yield the application's hot routes, called directly or through Litestar's router."""
    settings = Settings(database_url="postgresql+asyncpg://nobody@127.0.0.1/nothing", admin_token=_TOKEN)
    app = create_app(settings)
    authenticator = _authenticator()
    app.state.authenticator = authenticator
    app.state.services = structs.replace(
        make_services(settings, RequestTelemetry(None)),
        authenticator=authenticator,
        committer=cast("Any", _Committer()),
        ledgers=cast("Any", _Ledgers()),
        accounts=cast("Any", _Rows(_READ)),
        transfers=cast("Any", _Rows(_TRANSFER)),
    )
    if not direct:
        close_direct_routes(app)
    way = "direct" if direct else "routed"
    yield _post(f"POST transfer, {way}", app, f"{_LEDGER}/transfers", [_authorization(), _key()])
    yield _get(f"GET account, {way}", app, f"{_LEDGER}/accounts/{_ACCOUNT}", [_authorization()])
    yield _get(f"GET transfer, {way}", app, f"{_LEDGER}/transfers/{_OTHER}", [_authorization()])


def close_direct_routes(app: Any) -> None:
    """Have every request to ``app`` go through Litestar's router."""

    async def pass_on(_http: HTTPScope, _headers: dict[bytes, bytes], _receive: Receive, _send: Send) -> bool:
        return False

    answer: Callable[..., Awaitable[bool]] = pass_on
    app._direct.answer = answer


def _authenticator() -> Authenticator:
    """Return one that knows the token already."""
    limits = ClientLimits(Settings(database_url=None))
    authenticator = Authenticator(cast("Any", None), limits, cast("Any", None), None)
    principal = Principal("admin", frozenset({"admin"}), None, limits.of("admin"))
    authenticator._verified[sha256(_TOKEN.encode()).digest()] = Verified(
        time.monotonic() + 1e9, principal, TokenUse(None, 0.0)
    )
    return authenticator


def _authorization() -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {_TOKEN}".encode()


def _key() -> tuple[bytes, bytes]:
    return b"idempotency-key", b"0123456789abcdef0123456789abcdef"
