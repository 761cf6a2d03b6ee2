"""Who may do what: tokens, scopes, ledgers, and that no route is left open by mistake."""

import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from service.settings import Settings
from service.storage.database import Database
from service.storage.tokens import SCOPES, TOKEN_CACHE_SECONDS, list_tokens, revoke_token
from tests.api.conftest import Application, MakeClient
from tests.api.contract import filled
from tests.api.ledger import Book, item, keyed, problem, unique
from tests.servers import random_token

OPEN_TO_EVERYONE = {"/health/live", "/health/ready", "/problems/{code}", "/openapi.json"}
OPEN_BELOW = "/docs"


def _routes(application: Application) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Method, path and handler of every route, but for OPTIONS, which Litestar answers by itself."""
    for route in application.app.routes:
        assert isinstance(route, HTTPRoute), "a new kind of route needs a rule of its own here"
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield method, route.path_format, handler


def _protected(application: Application) -> Iterator[tuple[str, str, str]]:
    """Method, a path in ledger main, and the scope of every route that needs one."""
    for method, path, handler in _routes(application):
        scope = handler.opt["scope"]
        if scope is not None:
            yield method, filled(path), scope


def test_every_route_declares_its_scope(application: Application) -> None:
    for method, path, handler in _routes(application):
        assert "scope" in handler.opt, f"{method} {path} declares no scope"
        is_open = path in OPEN_TO_EVERYONE or path == OPEN_BELOW or path.startswith(f"{OPEN_BELOW}/")
        if is_open:
            assert handler.opt["scope"] is None, f"{method} {path} is for everyone"
        else:
            assert handler.opt["scope"] in SCOPES, f"{method} {path} needs a scope that tokens can have"


def test_what_reads_needs_the_scope_to_read_and_what_changes_another(application: Application) -> None:
    for method, path, scope in _protected(application):
        assert (scope == "read") == (method == "GET"), f"{method} {path} needs {scope}"


WRONG_AUTHORIZATIONS = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    f"Bearer {random_token()}",
    f"Bearer {'x' * 513}",
    f"Bearer {'x' * 10_000}",
    "Bearer ü",
    "Basic YWRtaW46YWRtaW4=",
    "{token}",
    "Token {token}",
    "Basic {token}",
    "Bearer{token}",
    "Bearer  {token}",
    "Bearer {token} ",
    "Bearer {token}x",
    "Bearer {token},Bearer {token}",
    'Bearer "{token}"',
]


async def test_every_route_needs_a_token(application: Application, stranger: httpx.AsyncClient) -> None:
    for method, path, _ in _protected(application):
        refused = await stranger.request(method, path)
        assert problem(refused, 401, "unauthenticated")["outcome"] == "not_applied"
        assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("authorization", WRONG_AUTHORIZATIONS, ids=lambda text: text[:30])
async def test_a_wrong_token(stranger: httpx.AsyncClient, application: Application, authorization: str) -> None:
    text = authorization.replace("{token}", application.settings.admin_token or "")
    refused = await stranger.get("/v1/ledgers", headers={b"Authorization": text.encode()})
    problem(refused, 401, "unauthenticated")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_in_any_case(stranger: httpx.AsyncClient, application: Application, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {application.settings.admin_token}"}
    assert (await stranger.get("/v1/ledgers", headers=headers)).status_code == 200


async def test_two_tokens_are_none(stranger: httpx.AsyncClient, application: Application) -> None:
    right = ("Authorization", f"Bearer {application.settings.admin_token}")
    wrong = ("Authorization", f"Bearer {random_token()}")
    assert (await stranger.get("/v1/ledgers", headers=[right, wrong])).status_code in {400, 401}
    assert (await stranger.get("/v1/ledgers", headers=[wrong, right])).status_code in {400, 401}


async def test_a_token_is_told_from_none_before_the_body_is_read(stranger: httpx.AsyncClient) -> None:
    refused = await stranger.post("/v1/ledgers/main/transfers", content=b"{", headers=keyed())
    problem(refused, 401, "unauthenticated")


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_token_may_do_what_its_scope_says(
    application: Application, make_client: MakeClient, scope: str
) -> None:
    client = await make_client(scope)
    for method, path, needed in _protected(application):
        response = await client.request(method, path, headers=keyed() | {"If-Match": "*"}, content=b"{")
        if scope in {needed, "admin"}:
            assert response.status_code not in {401, 403}, f"{method} {path}: {response.text}"
        else:
            assert problem(response, 403, "forbidden")["required_scope"] == needed


async def test_a_token_without_scopes_may_do_nothing(application: Application, make_client: MakeClient) -> None:
    client = await make_client()
    for method, path, _ in _protected(application):
        problem(await client.request(method, path), 403, "forbidden")


async def test_options_needs_a_token_of_any_scope(
    application: Application, stranger: httpx.AsyncClient, make_client: MakeClient
) -> None:
    client = await make_client()
    for path in {path for _, path, _ in _protected(application)}:
        problem(await stranger.options(path), 401, "unauthenticated")
        assert (await client.options(path)).status_code == 204


async def test_another_ledger_is_not_told_from_none(
    application: Application, book: Book, make_client: MakeClient
) -> None:
    limited = await make_client("admin", ledgers=["main"])
    account, other = await book.account(), await book.account()
    await book.move(account, other)
    absent = unique("ledger")
    for method, path, _ in _protected(application):
        if "/main" not in path:
            continue
        sent = {"headers": keyed() | {"If-Match": "*"}, "content": b"" if method == "GET" else b"{}"}
        hidden = await limited.request(method, path.replace("/main", f"/{book.name}", 1), **sent)  # type: ignore[arg-type]
        nothing = await limited.request(method, path.replace("/main", f"/{absent}", 1), **sent)  # type: ignore[arg-type]
        assert hidden.status_code == nothing.status_code >= 400
        assert hidden.text.replace(book.name, absent) == nothing.text
        if method == "GET":
            problem(hidden, 404, "ledger_not_found")


async def test_a_token_of_another_ledger_moves_nothing(book: Book, make_client: MakeClient) -> None:
    account, other = await book.account(), await book.account()
    limited = book.seen_by(await make_client("admin", ledgers=[unique("ledger")]))
    problem(await limited.post(account, other), 404, "ledger_not_found")
    problem(await limited.revise(account, name="n"), 404, "ledger_not_found")
    problem(await limited.batch(item(account, other)), 404, "ledger_not_found")
    assert await book.read_account(account) == account


async def test_a_token_of_this_ledger_among_others(book: Book, make_client: MakeClient) -> None:
    limited = book.seen_by(await make_client("admin", ledgers=["main", book.name]))
    await limited.move(await limited.account(), await limited.account())


async def test_an_expired_token(make_client: MakeClient) -> None:
    expired = await make_client("admin", expires_in=timedelta(seconds=-1))
    problem(await expired.get("/v1/ledgers"), 401, "unauthenticated")
    lasting = await make_client("admin", expires_in=timedelta(hours=1))
    assert (await lasting.get("/v1/ledgers")).status_code == 200


async def _revoke(application: Application, client: str) -> None:
    database = Database.connect(application.database.owner_url, Settings())
    async with database.sessions() as session, session.begin():
        [token] = [one for one in await list_tokens(session) if one.client == client]
        assert await revoke_token(session, token.id)
    await database.close()


async def test_a_revoked_token(application: Application, make_client: MakeClient) -> None:
    name = unique("client")
    client = await make_client("read", name=name)
    await _revoke(application, name)
    problem(await client.get("/v1/ledgers"), 401, "unauthenticated")


async def test_a_token_that_is_revoked_while_in_use_ends_within_its_time(
    application: Application, make_client: MakeClient
) -> None:
    name = unique("client")
    client = await make_client("read", name=name)
    assert (await client.get("/v1/ledgers")).status_code == 200
    await _revoke(application, name)
    deadline = time.monotonic() + TOKEN_CACHE_SECONDS + 1
    while (response := await client.get("/v1/ledgers")).status_code == 200:
        assert time.monotonic() < deadline, "the token is still accepted"
    problem(response, 401, "unauthenticated")


OPEN_PATHS = ["/health/live", "/health/ready", "/problems/not_found", "/docs", "/openapi.json"]


@pytest.mark.parametrize("path", OPEN_PATHS)
async def test_what_is_open_needs_no_token(stranger: httpx.AsyncClient, path: str) -> None:
    assert (await stranger.get(path)).status_code == 200
    assert (await stranger.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 200


async def test_no_answer_to_a_stranger_names_host_user_or_version(
    application: Application, stranger: httpx.AsyncClient
) -> None:
    paths = ["/", "/v1/ledgers", "/health/live", "/health/ready", "/problems/x", "/problems/internal_error"]
    secrets = ["postgres", "funds_service", "localhost", "127.0.0.1", "/tmp", "python", "litestar", "granian"]
    secrets.append(application.settings.admin_token or "")
    for path in paths:
        response = await stranger.get(path)
        shown = (response.text + str(response.headers)).lower()
        assert not [secret for secret in secrets if secret.lower() in shown], shown
